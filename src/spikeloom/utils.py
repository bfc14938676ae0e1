"""snnTorch's ``utils``: resetting a network, reducing data sets, splitting off validation data.

`data_subset` and `valid_split` modify the ``.data`` and ``.targets`` of their arguments, as in
snnTorch.
"""

from typing import Any

import numpy as np

from .core.tree import reset

__all__ = ["data_subset", "reset", "valid_split"]


def data_subset(dataset: Any, subset: int, idx: int = 0) -> Any:
    """Reduces a data set to one of ``subset`` equal, contiguous parts.

    The remainder of the division is dropped.

    Args:
        dataset: has ``data`` and ``targets``, tensors or arrays of N samples.
        subset: number of parts; 1 or less changes nothing.
        idx: index of the part, from 0.

    Returns:
        ``dataset``, changed.

    Raises:
        ValueError: no such part, or more parts than samples.

    >>> from types import SimpleNamespace
    >>> dataset = SimpleNamespace(data=torch.arange(6), targets=torch.arange(6))
    >>> data_subset(dataset, subset=3, idx=1).data
    tensor([2, 3])
    """
    if subset <= 1:
        return dataset
    if not 0 <= idx < subset:
        raise ValueError(
            f"idx must be in [0, {subset - 1}] for subset={subset}, got {idx}; parts count from 0"
        )
    step = len(dataset.data) // subset
    if step == 0:
        raise ValueError(
            f"subset must not exceed the {len(dataset.data)} samples, got {subset}; write fewer "
            "parts"
        )
    part = slice(step * idx, step * (idx + 1))
    dataset.data = dataset.data[part]
    dataset.targets = dataset.targets[part]
    return dataset


def valid_split(ds_train: Any, ds_val: Any, split: float, seed: int = 0) -> tuple[Any, Any]:
    """Moves a random share of the training data to a validation set.

    Args:
        ds_train: has ``data`` and ``targets``, tensors or arrays of N samples, and a length.
        ds_val: its ``data`` and ``targets`` are replaced; another object than ``ds_train``.
        split: share of the samples to move, in [0, 1]; ``int(N * split)`` samples.
        seed: seed of the random choice.

    Returns:
        ``(ds_train, ds_val)``, both modified. Training samples are in random order, validation
        samples in their original order.

    Raises:
        ValueError: ``split`` is outside [0, 1], or both arguments are the same object.

    >>> from types import SimpleNamespace
    >>> class Numbers(SimpleNamespace):
    ...     def __len__(self):
    ...         return len(self.data)
    >>> train = Numbers(data=torch.arange(5), targets=torch.arange(5))
    >>> train, val = valid_split(train, Numbers(), split=0.4)
    >>> len(train), len(val)
    (3, 2)
    """
    if not 0 <= split <= 1:
        raise ValueError(
            f"split must be in [0, 1], got {split}; write the share of the samples, e.g. split=0.1"
        )
    if ds_train is ds_val:
        raise ValueError(
            "ds_train and ds_val must be two objects, got the same one twice; write "
            "copy.copy(ds_train)"
        )
    samples = len(ds_train)
    train = np.random.default_rng(seed=seed).choice(
        samples, size=samples - int(samples * split), replace=False
    )
    held_out = np.setdiff1d(np.arange(samples), train)
    data, targets = ds_train.data, ds_train.targets
    ds_val.data, ds_val.targets = data[held_out], targets[held_out]
    ds_train.data, ds_train.targets = data[train], targets[train]
    return ds_train, ds_val
