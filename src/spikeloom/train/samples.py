"""Training, validation and test data in any accepted form, as batches in a reproducible order."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset
from torch.utils.data.distributed import DistributedSampler

from ..core import checks
from ..core.lengths import checked_lengths
from ..core.numbers import array
from ..data import Split, stratified
from .padding import Padded, collated, is_list_of_samples, padded, trimmed
from .processes import Share
from .settings import checksum

__all__ = [
    "Batch",
    "Batches",
    "LoaderBatches",
    "Samples",
    "TensorBatches",
    "evaluated",
    "samples",
]

FORMS = (
    "a Split such as data.digits(), tensors (x_train, y_train, x_test, y_test), or data sets or "
    "loaders (train, test) or (train, validation, test)"
)
PARTS = ("training", "validation", "test")


class Batch(NamedTuple):
    """Samples [B, ...] and targets [B, ...] for this process; ``count`` of them count.

    ``total`` samples count in all processes together. ``lengths`` are the steps of padded samples,
    [B]; None: all have T.
    """

    x: Tensor
    y: Tensor
    count: int
    total: int
    lengths: Tensor | None = None


class Batches(Protocol):
    """Batches of samples, with the random state of their order."""

    generator: torch.Generator | None

    def __len__(self) -> int: ...

    def start(self, skip: int = 0) -> Iterator[Batch]:
        """A new pass over the data without its first ``skip`` batches.

        The order is drawn now, not at the first batch.
        """
        ...


class Samples(NamedTuple):
    """Data of a training run.

    Attributes:
        train: batches in random order.
        validation: batches in fixed order, looked at after each epoch, or None.
        test: batches in fixed order, or None.
        description: for run cards and for the comparison before a resume.
        example: a few test samples, [B, ...]; training samples where there are no others.
        labels: of the examples, [B, ...].
        highest: largest label, where it is known in advance.
        batch_size: samples in a full batch.
        span: smallest and largest value of the samples; of loaders, of the first batch.
        classifies: whether the targets are class numbers.
        counts: training samples of each class, where known.
        lengths: steps of the examples, [B], where they are padded.
        ragged: whether samples of unequal length are known.
    """

    train: Batches
    validation: Batches | None
    test: Batches | None
    description: dict[str, Any]
    example: Tensor
    labels: Tensor
    highest: int | None
    batch_size: int
    span: tuple[float, float]
    classifies: bool
    counts: Tensor | None = None
    lengths: Tensor | None = None
    ragged: bool = False

    def shown(self, number: int) -> Padded:
        """The first examples."""
        lengths = None if self.lengths is None else self.lengths[:number]
        return trimmed(self.example[:number], lengths)


class Part(NamedTuple):
    """Samples [N, ...] with targets, and the steps of each sample where they are padded."""

    x: Tensor
    y: Tensor
    lengths: Tensor | None = None

    def chosen(self, indices: Tensor) -> "Part":
        """Some of the samples, without steps that all of them lack."""
        lengths = None if self.lengths is None else self.lengths[indices]
        x, lengths = trimmed(self.x[indices], lengths)
        return Part(x, self.y[indices], lengths)


class TensorBatches:
    """Batches of samples in memory.

    >>> batches = TensorBatches(torch.arange(5.0), torch.arange(5), 2)
    >>> [batch.y.tolist() for batch in batches.start(skip=1)]
    [[2, 3], [4]]
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        batch_size: int,
        generator: torch.Generator | None = None,
        here: Share | None = None,
        lengths: Tensor | None = None,
    ) -> None:
        self.samples = Part(x, y, lengths)
        self.batch_size, self.generator = batch_size, generator
        self.here = Share() if here is None else here

    def __len__(self) -> int:
        return -(-len(self.samples.x) // self.batch_size)

    def start(self, skip: int = 0) -> Iterator[Batch]:
        """Batches in the order of `generator`, or in their own if there is none."""
        number = len(self.samples.x)
        order = (
            torch.arange(number)
            if self.generator is None
            else torch.randperm(number, generator=self.generator)
        )
        return (self._batch(part) for part in order.split(self.batch_size)[skip:])

    def _batch(self, indices: Tensor) -> Batch:
        own, count = self.here.of(indices)
        x, y, lengths = self.samples.chosen(own)
        return Batch(x, y, count, len(indices), lengths)


class LoaderBatches:
    """Batches of a loader such as ``torch.utils.data.DataLoader``, which sets order and size.

    Args:
        loader: yields ``(x, y)``, or ``(x, y, lengths)`` for padded samples.
        what: the part of the data, for errors.
        time_first: whether its samples are [T, B, ...] instead of [B, ...].
        timed: whether samples carry time, so that they may be padded.
        here: this process. The samples of a batch are divided among the processes; a DataLoader
            reads only those of its own.
    """

    def __init__(
        self,
        loader: Any,
        what: str,
        *,
        time_first: bool = False,
        timed: bool = False,
        here: Share | None = None,
    ) -> None:
        if not isinstance(loader, Sized):
            raise TypeError(
                f"the {what} loader must know its number of batches, got {type(loader).__name__} "
                "without len(); "
                "write a list of batches or torch.utils.data.DataLoader(dataset, ...)"
            )
        if not len(loader):
            raise ValueError(f"the {what} loader must have at least one batch, got none")
        self.loader: Any = loader
        self.what, self.time_first, self.timed = what, time_first, timed
        self.here = Share() if here is None else here
        self.generator = getattr(loader, "generator", None)
        self.divided = self.here.size > 1 and _batch_sampler(loader, what) is not None

    def __len__(self) -> int:
        return len(self.loader)

    def start(self, skip: int = 0) -> Iterator[Batch]:
        """One pass over the loader; each batch is checked.

        The skipped batches are fetched now, unless only their indices are needed.
        """
        if self.divided:
            return self._own(skip)
        batches = iter(self.loader)
        for _ in range(skip):
            next(batches)
        return self._whole(batches)

    def _whole(self, batches: Iterator[Any]) -> Iterator[Batch]:
        for batch in batches:
            part = self._checked(batch)
            own, count = self.here.of(torch.arange(len(part.x)))
            x, y, lengths = part.chosen(own) if self.here.size > 1 else part
            yield Batch(x, y, count, len(part.x), lengths)

    def _own(self, skip: int) -> Iterator[Batch]:
        """Batches of a DataLoader that holds the indices of this process only."""
        loader = self.loader
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)  # as iter() draws
        batches = [list(batch) for batch in loader.batch_sampler][skip:]
        shares = [self.here.of(batch) for batch in batches]
        own = DataLoader(
            loader.dataset,
            batch_sampler=[indices for indices, _ in shares],
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
            generator=torch.Generator().manual_seed(self.here.rank),
        )
        return (
            self._batch(batch, count, len(whole))
            for batch, (_, count), whole in zip(own, shares, batches, strict=True)
        )

    def _batch(self, batch: Any, count: int, total: int) -> Batch:
        x, y, lengths = self._checked(batch)
        return Batch(x, y, count, total, lengths)

    def _checked(self, batch: Any) -> Part:
        sizes = (2, 3) if self.timed else (2,)
        if not isinstance(batch, (tuple, list)) or len(batch) not in sizes:
            raise TypeError(
                f"the {self.what} loader must yield (x, y), got {_kind(batch)}; write a data set, "
                "or a collate function, that returns samples and targets alone, or with "
                'encode="sequence" or "time_first" also the lengths of padded samples, [B]'
            )
        x, y = (_of_batch(part, self.what) for part in batch[:2])
        if not x.is_floating_point() and x.dtype.is_signed and not x.is_complex():
            x = x.float()  # counts of events
        if self.time_first:
            x = x.transpose(0, 1)
        y = check_samples(x, y, f"of the {self.what} loader", loader=True)
        if len(batch) == 2:
            return Part(x, y)
        x, lengths = trimmed(x, checked_lengths(batch[2], x.shape[1], len(x), x.device))
        return Part(x, y, lengths)


def _of_batch(part: Any, what: str) -> Tensor:
    if isinstance(part, (list, tuple)) and part and all(isinstance(p, Tensor) for p in part):
        raise TypeError(
            f"the {what} loader must yield tensors, got a {type(part).__name__} of {len(part)} "
            "tensors; write a collate function that returns torch.stack(samples), torch.stack("
            "targets); for samples of unequal length leave the collate function out and write "
            'encode="sequence", or return lengths as data.pad_sequences(..., lengths=True) does'
        )
    return array(
        part,
        lambda: (
            f"the {what} loader must yield numbers, got {_kind(part)}; write class numbers 0, 1, "
            "2 ... for names, and tensors or arrays for pictures"
        ),
    )


def _batch_sampler(loader: Any, what: str) -> Any:
    """The sampler of a DataLoader whose batches can be divided by their indices, or None."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    if isinstance(loader.sampler, DistributedSampler):
        raise TypeError(
            f"the {what} loader divides its samples among processes already, got a "
            "DistributedSampler; write shuffle=True instead, fit divides every batch itself"
        )
    if loader.generator is None and not isinstance(
        loader.sampler, torch.utils.data.SequentialSampler
    ):
        raise TypeError(
            f"the {what} loader must draw one order in all processes, got a DataLoader without "
            "generator; write generator=torch.Generator().manual_seed(0), or give fit the data set"
        )
    return loader.batch_sampler


class Division(NamedTuple):
    """How data become batches.

    Attributes:
        batch_size: for tensors and data sets; loaders have their own.
        seed: of the order of the training samples.
        validation: the part that is taken from the training samples, a number in (0, 1), or data.
        time_first: whether loaders yield [T, B, ...].
        workers: processes that load samples of a data set.
        here: this process.
        timed: whether samples carry time, so that they may differ in length.
    """

    batch_size: int
    seed: int
    validation: Any = None
    time_first: bool = False
    workers: int = 0
    here: Share = Share()
    timed: bool = False

    def order(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def batches(self, part: Part, *, shuffled: bool = False) -> TensorBatches:
        """Samples in memory as batches, in their own order unless ``shuffled``."""
        order = self.order() if shuffled else None
        return TensorBatches(part.x, part.y, self.batch_size, order, self.here, part.lengths)


def samples(
    data: Any,
    batch_size: int,
    seed: int,
    *,
    validation: Any = None,
    time_first: bool = False,
    workers: int = 0,
    here: Share | None = None,
    timed: bool = False,
) -> Samples:
    """``data`` of `fit` as batches.

    Args:
        data: one of the forms that `fit` accepts.
        batch_size: for tensors and data sets; loaders have their own.
        seed: of the order of the training samples, for tensors and data sets.
        validation: as for `fit`.
        time_first: whether loaders yield samples [T, B, ...].
        workers: processes that load samples of a data set.
        here: this process.
        timed: whether samples carry time, [T, ...], so that they may differ in length.

    Raises:
        TypeError: another form, or samples or labels of a wrong type.
        ValueError: shapes or labels that do not belong together, NaN, or no sample at all.

    >>> x, y = torch.zeros(3, 4), torch.tensor([0, 1, 1])
    >>> samples((x, y, x, y), 2, seed=0).description["train_samples"]
    3
    """
    how = Division(
        batch_size,
        seed,
        validation,
        time_first,
        workers,
        Share() if here is None else here,
        timed,
    )
    if isinstance(data, Split):
        described: dict[str, Any] = {"name": data.name, "description": data.description}
        if data.classes:
            described["class_names"] = list(data.classes)
        return _from_tensors(tuple(data[:4]), described, how)
    if isinstance(data, (tuple, list)) and len(data) == 4 and not _is_batches(data):
        described = {
            "name": "tensors",
            "description": "samples and labels passed to fit, divided by the caller",
        }
        return _from_tensors(tuple(data), described, how)
    if isinstance(data, tuple) and data and all(isinstance(p, tuple) for p in data):
        raise TypeError(
            f"data must be {FORMS}, got a tuple of {len(data)} tuples; write (*train, *test), or "
            "torch.utils.data.TensorDataset(*train) for each"
        )
    if isinstance(data, (tuple, list)) and len(data) in (2, 3) and all(map(_is_loader, data)):
        if len(data) == 3 and validation is not None:
            raise ValueError(
                f"data holds validation samples already, got validation={_kind(validation)} "
                "too; leave one out"
            )
        held = data[1] if len(data) == 3 else how.validation
        return _from_loaders(data[0], held, data[-1], how)
    if isinstance(data, (DataLoader, Dataset)):
        return _from_loaders(data, how.validation, None, how)
    if isinstance(data, (tuple, list)) and len(data) == 2 and _has_arrays(data):
        raise TypeError(
            f"data must have a test part, got two tensors; write {FORMS}, or "
            "torch.utils.data.TensorDataset(x, y) to train without one"
        )
    raise TypeError(f"data must be {FORMS}; got {_kind(data)}")


def _is_array(part: Any) -> bool:
    return isinstance(part, Tensor) or hasattr(part, "__array_interface__")


def _has_arrays(data: Any) -> bool:
    return any(_is_array(part) or is_list_of_samples(part) for part in data)


def _is_loader(part: Any) -> bool:
    return isinstance(part, (Iterable, Dataset)) and not _is_array(part)


def _is_batches(data: Any) -> bool:
    """Whether this is a list of batches rather than four arrays."""
    return isinstance(data, list) and isinstance(data[0], (tuple, list)) and len(data[0]) == 2


def check_samples(x: Tensor, y: Tensor, part: str, *, loader: bool = False) -> Tensor:
    """Check samples [N, ...] and their targets: classes [N], or values [N, ...].

    Args:
        x: samples.
        y: targets.
        part: of the data, for errors.
        loader: whether they are a batch of a loader, where remedies go into the data set.

    Returns:
        The targets, int64 or floating point.

    Raises:
        TypeError: samples that are no floats, targets that are no numbers.
        ValueError: other shapes, NaN, a negative label.

    >>> check_samples(torch.zeros(2, 3), torch.tensor([0, 1]), "of the training part")
    tensor([0, 1])
    """
    if not x.is_floating_point():
        scaled = "x.float() / 255" if x.dtype == torch.uint8 else "x.float()"
        hint = f"transform=lambda x: {scaled} in the data set" if loader else scaled
        raise TypeError(
            f"samples {part} must be floating point, got {x.dtype} of shape {tuple(x.shape)}; "
            f"write {hint}"
        )
    if y.is_complex():
        raise TypeError(f"labels {part} must be real numbers, got {y.dtype}; write y.real")
    values = y.is_floating_point() or y.dtype == torch.bool
    if y.dim() != 1 and not values:
        hint = "write one class for each sample"
        if y.dim() == 2:
            one = y.shape[1] == 1
            hint = (
                "write y.squeeze(1)"
                if one
                else "write y.argmax(1) for one-hot labels, y.float() for several labels a sample"
            )
        raise ValueError(f"labels {part} must have shape [N], got {tuple(y.shape)}; {hint}")
    if x.dim() < 2 or not y.dim() or len(x) != len(y) or not len(x):
        first = x.dim() > 2 and y.dim() == 1 and x.shape[1] == len(y)
        hint = '; batches [T, B, ...] need encode="time_first"' if first else ""
        count = len(y) if y.dim() else "no axis of"
        raise ValueError(
            f"samples {part} must have shape [N, ...] with one label each, got samples "
            f"{tuple(x.shape)} and "
            f"{count} labels; the first axis is the sample{hint}"
        )
    checks.finite(x, f"samples {part}")
    if values:
        target = y if y.is_floating_point() else y.float()
        checks.finite(target, f"targets {part}")
        return target
    if int(y.min()) < 0:
        raise ValueError(f"labels {part} must count from 0, got {int(y.min())}; write y - y.min()")
    return y.long()


def _samples_of(value: Any, how: Division) -> Padded:
    """Samples as a tensor, padded if they are a list of unequal lengths."""
    if how.timed and is_list_of_samples(value):
        return padded(value, timed=True)
    return Padded(_tensor(value), None)


def _both(train: Any, test: Any, how: Division) -> tuple[Padded, Padded]:
    """Training and test samples, padded to one number of steps where they are lists."""
    found = [_samples_of(train, how), _samples_of(test, how)]
    ragged = any(part.lengths is not None for part in found)
    lists = how.timed and (is_list_of_samples(train) or is_list_of_samples(test))
    steps = [part.x.shape[1] if part.x.dim() > 1 else 0 for part in found]
    if not ragged and (not lists or steps[0] == steps[1]):
        return found[0], found[1]
    return _stretched(found[0], max(steps)), _stretched(found[1], max(steps))


def _stretched(part: Padded, steps: int) -> Padded:
    """Samples padded to ``steps``, with their lengths."""
    x, lengths = part
    number, own = x.shape[:2]
    if lengths is None:
        lengths = torch.full((number,), own)
    return Padded(torch.cat([x, x.new_zeros(number, steps - own, *x.shape[2:])], 1), lengths)


def _from_tensors(given: tuple[Any, ...], described: dict[str, Any], how: Division) -> Samples:
    (x_train, train_lengths), (x_test, test_lengths) = _both(given[0], given[2], how)
    y_train, y_test = _tensor(given[1]), _tensor(given[3])
    parts = (x_train, y_train, x_test, y_test)
    if x_test.dim() == y_test.dim() == 1 < x_train.dim() and y_train.shape[1:] == x_train.shape[1:]:
        raise ValueError(
            "data must be (x_train, y_train, x_test, y_test), got the order (x_train, x_test, "
            "y_train, y_test) of scikit-learn's train_test_split; exchange the two in the middle"
        )
    y_train = check_samples(x_train, y_train, "of the training part")
    y_test = check_samples(x_test, y_test, "of the test part")
    if x_train.shape[1:] != x_test.shape[1:] or x_train.dtype != x_test.dtype:
        raise ValueError(
            f"training and test samples must be alike, got {tuple(x_train.shape)} of "
            f"{x_train.dtype} and "
            f"{tuple(x_test.shape)} of {x_test.dtype}"
        )
    if y_train.is_floating_point() != y_test.is_floating_point():
        raise TypeError(
            "training and test targets must be alike, got "
            f"{parts[1].dtype} and {parts[3].dtype}; write whole numbers for both, or floats"
        )
    classifies = not y_train.is_floating_point()
    highest = int(max(y_train.max(), y_test.max())) if classifies else None
    description = {
        **described,
        "train_samples": len(x_train),
        "test_samples": len(x_test),
        "sample_shape": list(x_train.shape[1:]),
        **({"classes": highest + 1} if highest is not None else {}),
        "checksum": checksum(parts),
    }
    train, test = Part(x_train, y_train, train_lengths), Part(x_test, y_test, test_lengths)
    if train_lengths is not None and test_lengths is not None:
        every = torch.cat([train_lengths, test_lengths])
        description["lengths"] = [int(every.min()), int(every.max())]
        description["checksum"] = checksum((*parts, every))
    validation = None
    if how.validation is not None:
        train, held = _validation(train, how)
        validation = how.batches(held)
        description |= {
            "train_samples": len(train.x),
            "validation_samples": len(held.x),
            "validation_checksum": checksum((held.x, held.y)),
        }
    return Samples(
        how.batches(train, shuffled=True),
        validation,
        how.batches(test),
        description,
        x_test[:16],
        y_test[:16],
        highest,
        how.batch_size,
        span(x_train, x_test),
        classifies,
        torch.bincount(train.y, minlength=highest + 1) if highest is not None else None,
        None if test_lengths is None else test_lengths[:16],
        ragged=train_lengths is not None,
    )


def _validation(train: Part, how: Division) -> tuple[Part, Part]:
    """Training and validation samples: a part of the training samples, or ``(x, y)``."""
    given = how.validation
    x, y, lengths = train
    if isinstance(given, (tuple, list)) and len(given) == 2 and _has_arrays(given):
        held, ends = _samples_of(given[0], how)
        labels = check_samples(held, _tensor(given[1]), "of the validation part")
        first = 1 if lengths is None and ends is None else 2  # time may differ
        if held.shape[first:] != x.shape[first:] or labels.dtype != y.dtype:
            raise ValueError(
                f"training and validation samples must be alike, got {tuple(x.shape)} and "
                f"{tuple(held.shape)}, targets of {y.dtype} and {labels.dtype}"
            )
        return train, Part(held, labels, ends)
    number = _share_of(given, len(x), "(x, y)")
    keys = y.numpy() if not y.is_floating_point() else torch.zeros(len(y)).numpy()
    rest, held = (torch.from_numpy(part) for part in stratified(keys, number))
    if lengths is None:
        return Part(x[rest], y[rest]), Part(x[held], y[held])
    return Part(x[rest], y[rest], lengths[rest]), Part(x[held], y[held], lengths[held])


def _share_of(given: Any, total: int, form: str) -> int:
    """Number of samples in a part of ``total``."""
    if isinstance(given, bool) or not isinstance(given, float):
        raise TypeError(
            f"validation must be a part of the training samples or {form}, got {_kind(given)}; "
            "write validation=0.1"
        )
    number = round(given * total)
    if not 0 < given < 1 or not 0 < number < total:
        raise ValueError(
            "validation must leave samples on both sides, in (0, 1), got "
            f"{given:g} of {total} samples; write validation=0.1"
        )
    return number


def _from_loaders(train: Any, validation: Any, test: Any, how: Division) -> Samples:
    kinds = [type(part).__name__ for part in (train, test) if part is not None]
    divided = isinstance(validation, float)
    if divided:
        train, validation = _divided(train, validation)
    given = dict(zip(PARTS, (train, validation, test), strict=True))
    batches = {part: _loader(value, part, how) for part, value in given.items()}
    found, held, last = (batches[part] for part in PARTS)
    assert found is not None
    shown = last or held or _loader(_peek(train, how), "training", how)
    assert shown is not None
    x, y, *_, lengths = next(shown.start())
    names = ("train", "validation", "test")
    description = {
        "name": "loaders",
        "description": f"{' and '.join(kinds)} passed to fit",
        **{
            f"{name}_batches": len(part)
            for name, part in zip(names, (found, held, last), strict=True)
            if part is not None
        },
        "sample_shape": list(x.shape[1:]),
        **({"validation_part": how.validation} if divided else {}),
    }
    return Samples(
        found,
        held,
        last,
        description,
        x[:16],
        y[:16],
        None,
        len(x) * how.here.size,
        span(x),
        not y.is_floating_point(),
        lengths=None if lengths is None else lengths[:16],
        ragged=lengths is not None,
    )


def _divided(train: Any, part: float) -> tuple[Any, Any]:
    """A data set in two parts, the same ones on every machine."""
    if isinstance(train, IterableDataset) or not isinstance(train, Dataset):
        raise TypeError(
            f"validation={part:g} divides tensors and data sets, got {type(train).__name__}; write "
            "data=(train_loader, validation_loader, test_loader)"
        )
    sized: Any = train
    number = _share_of(part, len(sized), "a data set")
    rest, held = stratified(torch.zeros(len(sized)).numpy(), number)
    return Subset(train, rest.tolist()), Subset(train, held.tolist())


def _peek(train: Any, how: Division) -> Any:
    """The training samples for a look at the first batch, which draws no order."""
    if isinstance(train, Dataset):
        return DataLoader(train, how.batch_size, collate_fn=collated if how.timed else None)
    return train


def _loader(value: Any, part: str, how: Division) -> LoaderBatches | None:
    if value is None:
        return None
    if isinstance(value, Dataset):
        if not isinstance(value, Sized):
            raise TypeError(
                f"the {part} data must know their number of samples, got {type(value).__name__} "
                "without len(); define __len__ in the data set"
            )
        options: dict[str, Any] = {"num_workers": how.workers}
        options["collate_fn"] = collated if how.timed else None
        if part == "training" and not isinstance(value, IterableDataset):
            options |= {"shuffle": True, "generator": how.order()}
        value = DataLoader(value, how.batch_size, **options)
    return LoaderBatches(value, part, time_first=how.time_first, timed=how.timed, here=how.here)


def evaluated(
    data: Any, batch_size: int, *, time_first: bool, workers: int, timed: bool = False
) -> Batches:
    """Samples of an evaluation in fixed order: ``(x, y)``, a data set or a loader.

    Raises:
        TypeError: another form.
    """
    how = Division(batch_size, 0, None, time_first, workers, timed=timed)
    if isinstance(data, (tuple, list)) and len(data) == 2 and _has_arrays(data):
        (x, lengths), y = _samples_of(data[0], how), _tensor(data[1])
        return how.batches(Part(x, check_samples(x, y, "to evaluate"), lengths))
    if isinstance(data, Dataset):
        collate = collated if timed else None
        data = DataLoader(data, batch_size, num_workers=workers, collate_fn=collate)
    if not isinstance(data, Iterable) or isinstance(data, (str, tuple, Tensor)):
        raise TypeError(
            "data must be samples and targets (x, y), a Split, a data set or a loader, got "
            f"{_kind(data)}"
        )
    return LoaderBatches(data, "evaluation", time_first=time_first, timed=timed)


def span(*parts: Tensor) -> tuple[float, float]:
    """Smallest and largest value of some tensors.

    >>> span(torch.tensor([0.0, 0.5]), torch.tensor([2.0]))
    (0.0, 2.0)
    """
    return min(float(x.min()) for x in parts), max(float(x.max()) for x in parts)


def _tensor(value: Any) -> Tensor:
    def refusal() -> str:
        frames = isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value)
        hint = (
            '; write torch.stack(samples) for a list of tensors, or encode="sequence" for '
            "recordings [T, ...] of unequal length"
            if frames
            else ""
        )
        if getattr(getattr(value, "dtype", None), "kind", None) in ("U", "S", "O"):  # of NumPy
            hint = " of text or objects; write class numbers 0, 1, 2 ..."
        return f"data must be {FORMS}; one of the four is {type(value).__name__}{hint}"

    return array(value, refusal)


def _kind(value: Any) -> str:
    length = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"{type(value).__name__}{length}"
