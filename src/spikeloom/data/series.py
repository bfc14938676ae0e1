"""Recordings of unequal length: their classes, groups, parts and source."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..core.checks import choice
from ..core.numbers import tensor

__all__ = ["Series", "Source"]


class Source(NamedTuple):
    """Origin of a data set; printing it shows everything.

    Attributes:
        name: of the data set.
        licence: under which it was published.
        citation: the publication to cite.
        page: where it is available.

    >>> print(Source("Vowels", "CC BY 4.0", "Kudo et al. (1999)", "archive.ics.uci.edu"))
    Vowels
    Licence: CC BY 4.0
    Citation: Kudo et al. (1999)
    Page: archive.ics.uci.edu
    """

    name: str
    licence: str
    citation: str
    page: str

    def __str__(self) -> str:
        return f"{self.name}\nLicence: {self.licence}\nCitation: {self.citation}\nPage: {self.page}"


class Series(Dataset[tuple[Tensor, int]]):
    """Recordings of unequal length with their classes, a data set of pairs.

    ``DataLoader(series, batch_size=8, collate_fn=pad_sequences)`` yields padded batches. Recordings
    in files are read when they are indexed; a `DiskCache` around the data set stores the results.

    Args:
        items: recordings [T_i, ...], or values that ``read`` converts to recordings.
        labels: class of each recording, [N], int64 from 0, in the order of ``classes``.
        classes: names of the classes.
        groups: speaker, patient or person of each recording. Default: unknown.
        parts: part of each recording in the published division, such as "train" or "test".
            Default: no published division.
        read: converts an item to a recording. Default: items are recordings.
        rate: samples per second of the recordings. Default: unknown.
        source: origin, licence and citation. Default: unknown.

    Raises:
        TypeError: ``labels`` is no tensor.
        ValueError: ``labels``, ``groups`` or ``parts`` do not hold one value for each item, or a
            label has no name.

    >>> recordings = [torch.zeros(3, 2), torch.zeros(5, 2), torch.zeros(4, 2)]
    >>> labels = torch.tensor([0, 1, 0])
    >>> series = Series(recordings, labels, ("a", "b"), groups=("ann", "bob", "ann"))
    >>> rest, bob = series.leave_out("bob")
    >>> len(rest), bob[0][0].shape, bob[0][1]
    (2, torch.Size([5, 2]), 1)
    """

    def __init__(
        self,
        items: Sequence[Any],
        labels: Tensor,
        classes: Sequence[str],
        *,
        groups: Sequence[str] = (),
        parts: Sequence[str] = (),
        read: Callable[[Any], Tensor] | None = None,
        rate: float | None = None,
        source: Source | None = None,
    ) -> None:
        self.items = list(items)
        self.labels = tensor("labels", labels)
        self.classes = tuple(classes)
        self.groups = tuple(groups)
        self.parts = tuple(parts)
        self.read = read
        self.rate = rate
        self.source = source
        number = len(self.items)
        if labels.shape != (number,) or any(len(x) not in (0, number) for x in (groups, parts)):
            raise ValueError(
                f"labels, groups and parts must hold one value for each of {number} recordings, "
                f"got {tuple(labels.shape)}, {len(groups)} and {len(parts)}"
            )
        if number and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise ValueError(
                f"labels must be in [0, {len(self.classes) - 1}], the indices of classes, got "
                f"{int(labels.min())} to {int(labels.max())}"
            )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        item = self.items[index]
        return (item if self.read is None else self.read(item)), int(self.labels[index])

    @property
    def recordings(self) -> list[Tensor]:
        """All recordings, [T_i, ...] each; those in files are read at each access."""
        return self.items if self.read is None else [self.read(item) for item in self.items]

    def take(self, indices: Any) -> "Series":
        """The recordings at ``indices``, such as those of `disjoint`.

        Args:
            indices: whole numbers, [M].

        Raises:
            IndexError: an index is out of range.
        """
        chosen = torch.as_tensor(indices, dtype=torch.int64).tolist()
        return Series(
            [self.items[i] for i in chosen],
            self.labels[chosen],
            self.classes,
            groups=[self.groups[i] for i in chosen] if self.groups else (),
            parts=[self.parts[i] for i in chosen] if self.parts else (),
            read=self.read,
            rate=self.rate,
            source=self.source,
        )

    def part(self, name: str) -> "Series":
        """The recordings of a part of the published division.

        Args:
            name: such as "train", "validation" or "test".

        Raises:
            ValueError: there is no such part.
        """
        choice("name", name, sorted(set(self.parts)))
        return self.take([i for i, part in enumerate(self.parts) if part == name])

    def leave_out(self, *groups: str) -> tuple["Series", "Series"]:
        """The recordings of the other groups, and those of ``groups``.

        Args:
            groups: such as the names of speakers.

        Raises:
            ValueError: there is no such group.
        """
        for group in groups:
            choice("group", group, sorted(set(self.groups)))
        chosen = [group in groups for group in self.groups]
        return (
            self.take([i for i, out in enumerate(chosen) if not out]),
            self.take([i for i, out in enumerate(chosen) if out]),
        )

    def __repr__(self) -> str:
        name = self.source.name if self.source else "unnamed"
        groups = f", {len(set(self.groups))} groups" if self.groups else ""
        return f"Series({name}: {len(self)} recordings, {len(self.classes)} classes{groups})"
