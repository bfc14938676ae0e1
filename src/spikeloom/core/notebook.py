"""What notebooks show of an object that prints as a table."""

import html

__all__ = ["Printed"]


class Printed:
    """Base of results: a notebook shows what ``print`` does, instead of the fields.

    >>> class Table(Printed):
    ...     def __str__(self):
    ...         return "a < b"
    >>> Table()._repr_html_()
    '<pre>a &lt; b</pre>'
    """

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"
