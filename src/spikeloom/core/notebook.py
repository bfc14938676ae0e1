"""What notebooks show of an object that prints as a table."""

import functools
import html
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Printed", "shown_once"]


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


def shown_once(fig: "Figure") -> "Figure":
    """Let a notebook show a figure of pyplot once where it is the last value of a cell.

    The cell shows its last value, and at its end all open figures of pyplot.

    >>> from matplotlib import pyplot
    >>> fig = shown_once(pyplot.figure())
    >>> pyplot.close(fig)
    """
    if "IPython" in sys.modules:
        fig.__dict__["_ipython_display_"] = functools.partial(_display, fig)
    return fig


def _display(fig: "Figure") -> None:
    """Show nothing while the cell runs, if the figure is shown at its end; IPython's protocol."""
    from matplotlib._pylab_helpers import Gcf  # pyplot's list of open figures

    shell = sys.modules["IPython"].get_ipython()
    running = shell is not None and sys.displayhook is shell.displayhook
    if not running or all(m.canvas.figure is not fig for m in Gcf.get_all_fig_managers()):
        raise NotImplementedError  # IPython then shows the picture
