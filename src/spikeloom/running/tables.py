"""Which torch functions are recorded, and how each may run over all steps at once.

Only functions of these tables are recorded; every other function is computed immediately. Kinds:

* ``"map"`` acts on each element and runs on ``[T, B, ...]`` as it is;
* ``"fold"`` acts on each sample and runs on ``[T * B, ...]``;
* ``"axes"`` reduces or normalises along axes, which are counted from the end;
* ``"shape"`` changes the shape of a step;
* ``"matmul"`` multiplies matrices, the last two axes, and runs on ``[T, B, ...]`` as it is;
* ``"transpose"`` exchanges axes of a step;
* ``"each"`` is pure and runs once for each step;
* functions of other kinds have their own method in the recorder.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..layers.spike_linear import spike_linear

__all__ = [
    "ADD",
    "BACKWARD",
    "FOLD_AXES",
    "FRESH",
    "GRAPH_POINTS",
    "INFO",
    "INPLACE_FLAG",
    "IN_PLACE",
    "KINDS",
    "LIKE",
    "MAX_POOL",
    "READS",
    "VIEWS",
]

Function = Callable[..., Any]


def _named(names: str) -> set[Function]:
    """Return the functions of these names in torch, ``Tensor`` and ``torch.nn.functional``."""
    places = (torch, Tensor, F, import_module("torch._C._nn"))
    found = (getattr(place, name, None) for place in places for name in names.split())
    return {function for function in found if callable(function)}


_MAP = _named(
    "add sub mul div true_divide rsub neg abs exp log sqrt rsqrt square sign sigmoid tanh relu "
    "relu6 elu gelu silu leaky_relu softplus hardtanh clamp clamp_min clamp_max maximum minimum "
    "where pow reciprocal sin cos gt lt ge le eq ne logical_and logical_or logical_not "
    "bitwise_and bitwise_or bitwise_not heaviside masked_fill lerp addcmul addcdiv float double "
    "detach clone to type_as floor ceil round erf log1p expm1 linear "
    "__add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __div__ __rdiv__ "
    "__neg__ __pow__ __rpow__ __gt__ __lt__ __ge__ __le__ __eq__ __ne__ __and__ __or__ __invert__ "
    "__abs__"
)
_POOLS = "max_pool _max_pool avg_pool adaptive_avg_pool adaptive_max_pool"
FOLD_AXES: dict[Function, int] = {}  # the axes of a batch; 0: any number
for _axes in (1, 2, 3):
    _names = " ".join(f"{name}{_axes}d" for name in ["conv", *_POOLS.split()])
    FOLD_AXES |= dict.fromkeys(_named(_names), _axes + 2)
FOLD_AXES |= dict.fromkeys([*_named("group_norm interpolate"), spike_linear], 0)
MAX_POOL = _named("max_pool2d _max_pool2d")

_AXES = _named("sum mean softmax log_softmax")
_SHAPE = _named("view reshape flatten unflatten unsqueeze squeeze view_as reshape_as")
_MATMUL = _named("matmul __matmul__")
_TRANSPOSE = _named("transpose swapaxes permute")
_EACH = _named(
    "mm bmm addmm einsum cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss "
    "binary_cross_entropy binary_cross_entropy_with_logits max min amax amin argmax argmin topk "
    "sort cumsum norm std var prod t expand expand_as contiguous pad roll flip "
    "repeat normalize cosine_similarity embedding one_hot tril triu outer dot movedim mT "
    "narrow select all any layer_norm rms_norm gather count_nonzero logsumexp"
)
VIEWS = _SHAPE | _named(
    "detach permute transpose t expand expand_as contiguous to float double type_as movedim "
    "swapaxes narrow select pad mT __getitem__"
)
KINDS: dict[Function, str] = {
    **dict.fromkeys(_EACH, "each"),
    **dict.fromkeys(_MAP, "map"),
    **dict.fromkeys(FOLD_AXES, "fold"),
    **dict.fromkeys(_AXES, "axes"),
    **dict.fromkeys(_SHAPE, "shape"),
    **dict.fromkeys(_MATMUL, "matmul"),
    **dict.fromkeys(_TRANSPOSE, "transpose"),
    **dict.fromkeys(_named("batch_norm"), "batch_norm"),
    **dict.fromkeys(_named("stack cat concat"), "stack"),
    **dict.fromkeys(_named("unbind"), "unbind"),
    **dict.fromkeys(_named("dropout dropout1d dropout2d dropout3d feature_dropout"), "dropout"),
    Tensor.__getitem__: "index",
}
ADD = _named("add __add__ __radd__")


def _in_place() -> dict[Function, Function]:
    """Return in-place functions with the functions that they compute."""
    found: dict[Function, Function] = {}
    for name in dir(Tensor):
        plain = getattr(Tensor, name.removesuffix("_"), None)
        if name.endswith("_") and not name.endswith("__") and KINDS.get(plain) == "map":  # pyright: ignore
            found[getattr(Tensor, name)] = plain  # pyright: ignore[reportArgumentType]
    for name in ("add", "sub", "mul", "truediv"):
        found[getattr(Tensor, f"__i{name}__")] = getattr(Tensor, f"__{name}__")
    found |= {torch.relu_: torch.relu, F.relu_: F.relu}  # pyright: ignore
    found |= {torch.sigmoid_: torch.sigmoid, torch.tanh_: torch.tanh}  # pyright: ignore
    return found


IN_PLACE = _in_place()
INPLACE_FLAG = _named("relu relu6 elu silu leaky_relu hardtanh")  # take ``inplace=True``

FRESH = _named(
    "rand randn randint randperm zeros ones full empty eye arange linspace tensor as_tensor"
)
LIKE = _named("rand_like randn_like randint_like zeros_like ones_like full_like")
READS = _named(
    "__bool__ item tolist __float__ __int__ __index__ __repr__ __format__ __contains__ equal "
    "allclose"
)  # return Python values and leave no tensor behind
_PROPERTIES = (
    "shape dtype device layout ndim is_cuda is_sparse itemsize requires_grad is_leaf is_meta"
)
INFO = _named(
    "size dim numel stride is_floating_point is_complex ndimension nelement is_contiguous "
    "get_device"
) | {
    Tensor.__len__,
    Tensor.is_pinned,
}
INFO |= {getattr(Tensor, name).__get__ for name in _PROPERTIES.split()}
GRAPH_POINTS = {Tensor.register_hook, Tensor.retain_grad, Tensor.requires_grad_}
BACKWARD = {Tensor.backward, torch.autograd.grad}
