"""Which rewrites are used."""

from contextvars import ContextVar

__all__ = ["active", "chosen"]

chosen: ContextVar[tuple[str, ...] | None] = ContextVar("spikeloom_rewrites", default=None)


def active(name: str) -> bool:
    """Return whether a rewrite is used; all are by default."""
    names = chosen.get()
    return names is None or name in names
