"""Interchange with other libraries and hardware through NIR, the neuromorphic representation.

`to_nir` writes a network as a graph of the package ``nir``, for any reader or for one library, and
`check` lists what a library cannot run. `from_nir` reads such a graph or its file, `register`
maps a neuron class of one's own to a node. NIR describes neurons in continuous time; both
translate by forward Euler, ``v += dt / tau (v_leak - v + r x)`` and a spike where ``v >
v_threshold``. `Convention` says what NIR leaves open.
"""

from .convention import CONVENTIONS as CONVENTIONS
from .convention import Convention as Convention
from .export import to_nir as to_nir
from .import_ import from_nir as from_nir
from .network import Network as Network
from .neuron_nodes import register as register
from .targets import check as check

__all__ = ["CONVENTIONS", "Convention", "Network", "check", "from_nir", "register", "to_nir"]
