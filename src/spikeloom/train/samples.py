"""Training and test data in any of the accepted forms, as batches ``(x, y)`` in a reproducible
order."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..core import checks
from ..data import Split
from .settings import checksum

__all__ = ["LoaderBatches", "Samples", "TensorBatches", "samples"]

FORMS = (
    "a Split such as data.digits(), tensors (x_train, y_train, x_test, y_test), or loaders "
    "(train_loader, test_loader)"
)


class Batches(Protocol):
    """Batches of samples, with the random state of their order."""

    generator: torch.Generator | None

    def __len__(self) -> int: ...

    def start(self, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """A new pass over the data without its first ``skip`` batches. Draws the order now, not at
        the first batch."""
        ...


class Samples(NamedTuple):
    """Data of a training run.

    Attributes:
        train: batches in random order.
        test: batches in fixed order.
        description: for run cards and for the comparison before a resume.
        example: a few test samples, [B, ...].
        labels: of the examples, [B].
        highest: largest label, where it is known in advance.
        batch_size: samples in a full batch.
        span: smallest and largest value of the samples; of loaders, of the first test batch.
    """

    train: Batches
    test: Batches
    description: dict[str, Any]
    example: Tensor
    labels: Tensor
    highest: int | None
    batch_size: int
    span: tuple[float, float]


class TensorBatches:
    """Batches of samples that lie in memory.

    >>> batches = TensorBatches(torch.arange(5.0), torch.arange(5), 2)
    >>> [y.tolist() for _, y in batches.start(skip=1)]
    [[2, 3], [4]]
    """

    def __init__(
        self, x: Tensor, y: Tensor, batch_size: int, generator: torch.Generator | None = None
    ) -> None:
        self.x, self.y, self.batch_size, self.generator = x, y, batch_size, generator

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    def start(self, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches in the order of `generator`, or as they lie if there is none."""
        number = len(self.x)
        shuffled = (
            None if self.generator is None else torch.randperm(number, generator=self.generator)
        )
        chosen = (
            slice(i, i + self.batch_size)
            for i in range(skip * self.batch_size, number, self.batch_size)
        )
        indices = chosen if shuffled is None else (shuffled[part] for part in chosen)
        return ((self.x[index], self.y[index]) for index in indices)


class LoaderBatches:
    """Batches of a loader such as ``torch.utils.data.DataLoader``; it decides about order and size
    itself."""

    def __init__(self, loader: Any, what: str) -> None:
        if not isinstance(loader, Sized):
            raise TypeError(
                f"the {what} loader must know its number of batches, got {type(loader).__name__} "
                "without len(); "
                "write a list of batches or torch.utils.data.DataLoader(dataset, ...)"
            )
        if not len(loader):
            raise ValueError(f"the {what} loader must have at least one batch, got none")
        self.loader: Any = loader
        self.what = what
        self.generator = getattr(loader, "generator", None)

    def __len__(self) -> int:
        return len(self.loader)

    def start(self, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the loader; each batch is checked. The skipped ones are fetched here and
        now."""
        batches = iter(self.loader)
        for _ in range(skip):
            next(batches)
        return self._checked(batches)

    def _checked(self, batches: Iterator[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            if not isinstance(batch, (tuple, list)) or len(batch) != 2:
                raise TypeError(f"the {self.what} loader must yield (x, y), got {_kind(batch)}")
            x, y = (torch.as_tensor(part) for part in batch)
            check_samples(x, y, f"of the {self.what} loader")
            yield x, y


def samples(data: Any, batch_size: int, seed: int) -> Samples:
    """``data`` of `fit` as batches.

    Args:
        data: one of the forms that `fit` accepts.
        batch_size: for tensors; loaders have their own.
        seed: of the order of the training samples, for tensors.

    Raises:
        TypeError: another form, or samples or labels of a wrong type.
        ValueError: shapes or labels that do not belong together, NaN, or no sample at all.

    >>> x, y = torch.zeros(3, 4), torch.tensor([0, 1, 1])
    >>> samples((x, y, x, y), 2, seed=0).description["train_samples"]
    3
    """
    if isinstance(data, Split):
        described = {"name": data.name, "description": data.description}
        return _from_tensors(tuple(data[:4]), described, batch_size, seed)
    if isinstance(data, (tuple, list)) and len(data) == 4:
        described = {
            "name": "tensors",
            "description": "samples and labels passed to fit, divided by the caller",
        }
        return _from_tensors(tuple(map(_tensor, data)), described, batch_size, seed)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        if not any(isinstance(part, Tensor) for part in data) and all(
            isinstance(part, Iterable) for part in data
        ):
            return _from_loaders(*data)
        raise TypeError(f"data must have a test part, got two tensors; write {FORMS}")
    raise TypeError(f"data must be {FORMS}; got {_kind(data)}")


def check_samples(x: Tensor, y: Tensor, part: str) -> None:
    """Check samples [N, ...] and their labels [N].

    Raises:
        TypeError: samples that are no floats, labels that are no whole numbers.
        ValueError: other shapes, NaN, a negative label.

    >>> check_samples(torch.zeros(2, 3), torch.tensor([0, 1]), "of the training part")
    """
    if not x.is_floating_point():
        hint = "write x.float() / 255" if x.dtype == torch.uint8 else "write x.float()"
        raise TypeError(
            f"samples {part} must be floating point, got {x.dtype} of shape {tuple(x.shape)}; "
            f"{hint}"
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        hint = (
            "write y.argmax(1) for one-hot labels"
            if y.dim() == 2
            else "write y.long() if they are classes"
        )
        raise TypeError(
            f"labels {part} must be whole numbers, got {y.dtype} of shape {tuple(y.shape)}; "
            f"{hint}. fit classifies: "
            "for regression write a loop of your own around snn.run"
        )
    if y.dim() != 1:
        hint = (
            "write y.argmax(1) for one-hot labels"
            if y.dim() == 2
            else "write one class for each sample"
        )
        raise ValueError(f"labels {part} must have shape [N], got {tuple(y.shape)}; {hint}")
    if x.dim() < 2 or len(x) != len(y) or not len(x):
        raise ValueError(
            f"samples {part} must have shape [N, ...] with one label each, got samples "
            f"{tuple(x.shape)} and "
            f"{len(y)} labels; the first axis is the sample"
        )
    checks.finite(x, f"samples {part}")
    if int(y.min()) < 0:
        raise ValueError(f"labels {part} must count from 0, got {int(y.min())}; write y - y.min()")


def _from_tensors(
    parts: tuple[Tensor, ...], described: dict[str, Any], batch_size: int, seed: int
) -> Samples:
    x_train, y_train, x_test, y_test = parts
    check_samples(x_train, y_train, "of the training part")
    check_samples(x_test, y_test, "of the test part")
    if x_train.shape[1:] != x_test.shape[1:] or x_train.dtype != x_test.dtype:
        raise ValueError(
            f"training and test samples must be alike, got {tuple(x_train.shape)} of "
            f"{x_train.dtype} and "
            f"{tuple(x_test.shape)} of {x_test.dtype}"
        )
    highest = int(max(y_train.max(), y_test.max()))
    description = {
        **described,
        "train_samples": len(x_train),
        "test_samples": len(x_test),
        "sample_shape": list(x_train.shape[1:]),
        "classes": highest + 1,
        "checksum": checksum(parts),
    }
    train = TensorBatches(x_train, y_train.long(), batch_size, torch.Generator().manual_seed(seed))
    test = TensorBatches(x_test, y_test.long(), batch_size)
    return Samples(
        train,
        test,
        description,
        x_test[:16],
        y_test[:16].long(),
        highest,
        batch_size,
        span(x_train, x_test),
    )


def _from_loaders(train_loader: Any, test_loader: Any) -> Samples:
    train, test = LoaderBatches(train_loader, "training"), LoaderBatches(test_loader, "test")
    x, y = next(test.start())
    description = {
        "name": "loaders",
        "description": f"{type(train_loader).__name__} and {type(test_loader).__name__} passed to "
        "fit",
        "train_batches": len(train),
        "test_batches": len(test),
        "sample_shape": list(x.shape[1:]),
    }
    return Samples(train, test, description, x[:16], y[:16].long(), None, len(x), span(x))


def span(*parts: Tensor) -> tuple[float, float]:
    """Smallest and largest value of some tensors.

    >>> span(torch.tensor([0.0, 0.5]), torch.tensor([2.0]))
    (0.0, 2.0)
    """
    return min(float(x.min()) for x in parts), max(float(x.max()) for x in parts)


def _tensor(value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"data must be {FORMS}; one of the four is {type(value).__name__}"
        ) from error


def _kind(value: Any) -> str:
    length = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"{type(value).__name__}{length}"
