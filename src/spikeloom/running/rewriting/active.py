"""Which rewrites are in use."""

from contextvars import ContextVar

__all__ = ["active", "is_active"]

active: ContextVar[tuple[str, ...] | None] = ContextVar("spikeloom_rewrites", default=None)


def is_active(name: str) -> bool:
    """Return whether a rewrite is in use; without `spikeloom.rewrites` all are."""
    names = active.get()
    return names is None or name in names
