"""Random programs of the kind that users write around spiking neurons.

A seed gives a program: the text of a class with its own time loop, of a function around a network,
or of a network for one step (`writer`), made of single lines (`lines`) about one module that has
everything (`network`). `observer` runs it and notes all that can be seen of it; `verdict` runs it
plain and recorded and compares both.
"""
