"""Placeholders of tensors that are not computed yet.

While a program is recorded, a `Deferred` is the placeholder of each result. It holds the metadata
of the tensor (`Info`) and the position of its value: output ``out`` of occurrence ``index`` of a
layer. Any other use of it reaches the recorder, which computes the value.
"""

import os
import sys
import threading
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

__all__ = ["OWN", "Deferred", "Info", "Refused", "user_line"]

_TORCH = os.path.dirname(torch.__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep


class Refused(RuntimeError):
    """Raised when an operation can neither be recorded nor computed immediately."""


def user_line() -> str:
    """Return file and line of the innermost caller outside torch and this library."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_TORCH, _OURS)):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "?"


class Info:
    """The metadata of a tensor: everything but its values.

    >>> Info.of(torch.zeros(2, 3)).shape
    torch.Size([2, 3])
    """

    __slots__ = ("device", "dtype", "requires_grad", "shape", "sign", "stride")

    def __init__(
        self,
        shape: torch.Size,
        dtype: torch.dtype,
        device: torch.device,
        stride: tuple[int, ...],
        requires_grad: bool,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.device = device
        self.stride = stride
        self.requires_grad = requires_grad
        self.sign = (shape, dtype, device, requires_grad, stride)

    @classmethod
    def of(cls, tensor: Tensor) -> "Info":
        """Return the metadata of a tensor, also of one that is not computed yet."""
        if type(tensor) is Deferred:
            return tensor.info
        needs = tensor.requires_grad
        return cls(tensor.shape, tensor.dtype, tensor.device, tensor.stride(), needs)

    def is_channels_last(self) -> bool:
        """Whether this describes images in the order (height, width, channel)."""
        return len(self.shape) == 4 and self.stride[1] == 1 and self.stride[3] == self.shape[1]

    def blank(self, *, leaf: bool = False) -> Tensor:
        """Return a tensor of zeros with this metadata; with its need of a gradient if ``leaf``."""
        empty = torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)
        return empty.zero_().requires_grad_(leaf and self.requires_grad)


class Deferred(Tensor):
    """The placeholder of a result that is not computed yet.

    Attributes:
        recorder: the recorder of its program.
        number: its position in the recorder's list.
        layer: number of the layer that computes it.
        out: which output of the layer.
        index: which occurrence of the layer.
        key: ``layer`` and ``out`` in one number.
        info: its metadata.
        shared: it is a view, or there are views of it.
    """

    recorder: Any
    number: int
    layer: int
    out: int
    index: int
    key: int
    info: Info
    shared: bool

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OWN:  # the program's attribute of this name needs a tensor without ours
            with torch._C.DisableTorchFunction():
                self.recorder.force("__setattr__")
                self.recorder.settle(self)
        Tensor.__setattr__(self, name, value)

    @property
    def shape(self) -> torch.Size:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.info.shape

    @property
    def dtype(self) -> torch.dtype:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.info.dtype

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.info.device

    @property
    def ndim(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.info.shape)

    @property
    def is_leaf(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return not self.info.requires_grad

    @property
    def requires_grad(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.info.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def dim(self) -> int:
        return len(self.info.shape)

    def size(self, dim: int | None = None) -> Any:  # pyright: ignore
        return self.info.shape if dim is None else self.info.shape[dim]

    def numel(self) -> int:
        return self.info.shape.numel()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [value for value in tree_leaves((args, kwargs)) if type(value) is cls]
        if any(value.recorder.thread != threading.get_ident() for value in given):
            raise Refused(
                f"{func} was given a value of a network that is running in another thread "
                f"({user_line()}); give each thread a network of its own: copy.deepcopy(net)"
            )
        raise Refused(
            f"{func} of C++ was given a value that is recorded and not computed yet "
            f"({user_line()}); "
            "it bypasses torch functions, so call it outside snn.layerwise and snn.run, or step by "
            "step"
        )


OWN = Deferred.__annotations__.keys()  # attributes that the recorder sets
