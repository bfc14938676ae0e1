"""Memory of a row of a printed loop: pointers, and the number of the first element."""

from typing import NamedTuple

__all__ = ["Load", "Place", "Store", "before", "element", "once", "path", "timed"]


class Place(NamedTuple):
    """Memory of an argument of a row: a pointer, and the number of its first element."""

    pointer: str
    first: str


def once(name: str) -> Place:
    return Place(name, "start")


def timed(name: str, t: str, base: str = "") -> Place:
    return Place(name, f"({t}) * w_{name} + start{base}")


def path(f: str, t: str) -> Place:
    return timed(f"N_{f}", t, " - base")


def before(initial: Place, later: Place) -> Place:
    """Return the place that is ``initial`` at step 0 and ``later`` at other steps."""
    return Place(*(f"{a} if t == 0 else {b}" for a, b in zip(initial, later, strict=True)))


class Load(NamedTuple):
    """How a row reads a value: as ``form`` of the element of ``argument`` at ``place``."""

    argument: str = ""
    place: Place | None = None
    form: str = "{0}"

    @property
    def expression(self) -> str:
        return self.form.format(element(self.argument)) if self.place else self.form


class Store(NamedTuple):
    """What a row writes: ``form(value of node)``, by ``operator``, to an item of ``argument``."""

    argument: str
    place: Place
    node: int
    operator: str = "="
    form: str = "{0}"


def element(argument: str) -> str:
    return f"{argument}[{argument}first + m]"
