"""Calls public functions and classes with one or two wrong arguments.

    python campaigns/calls.py --number 100000

Wrong arguments are wrong shapes and dtypes, NaN and infinity, None, texts, flags, numbers out of
range, empty containers and other objects. Each call must return, or raise an error of this package.
Faults are errors raised by torch, NumPy or Python, NaN in a result although no input was NaN, a
result for a tensor of NaN without an error, a crash, or a hang.
"""

import linecache
import sys
import warnings
from typing import Any

from workers import Case, campaign

# Functions of `targets` and `targets_networks`, named here so that the parent need not import torch
# for its table.
GROUPS = (
    "encoders",
    "targets_of_labels",
    "functionals",
    "monitors",
    "decoders",
    "surrogates",
    "data_sets",
    "networks",
    "layers",
    "runs",
    "trainings",
    "rules",
)
# Views and layers without a state pass NaN on, as torch's own do; what reads them refuses it.
NAN_PASSES = {
    "to_one_hot_inverse",
    "state_quant",
    "ToTensor",
    "hflip",
    "dvs_permute",
    "population_times",
    "Repeat",
    "groups",
    "GradedSpikes",
    "SpikeLinear",
    "QCFS",
    "to_nir",
    "EventFrames",  # reads its data set when a sample is asked for
}
CALLED = {"loss", "system", "step", "regularization", "encode", "state_quant"}
DOCUMENTED = (TypeError, ValueError, IndexError, KeyError, OSError, ImportError)


def kind(number: int) -> str:
    """The group of a case."""
    return GROUPS[number % len(GROUPS)]


def table(group: str) -> dict[str, Any]:
    """The valid calls of a group."""
    import targets
    import targets_networks

    home = targets if hasattr(targets, group) else targets_networks
    return getattr(home, group)()


def plain_values() -> list[Any]:
    """Values that are wrong for almost every argument."""
    import numpy as np
    import torch
    from torch import nn

    nan = float("nan")
    return [
        None,
        "25",
        "",
        "zero",
        True,
        False,
        0,
        1,
        -1,
        2,
        3,
        2.5,
        -0.5,
        0.0,
        1e-30,
        1e30,
        -1e30,
        10**30,
        2**31,
        2**63,
        nan,
        float("inf"),
        -float("inf"),
        1j,
        [],
        [1],
        [1, 2, 3],
        (),
        (1, 2),
        {},
        {"a": 1},
        set(),
        object(),
        print,
        int,
        b"x",
        range(3),
        np.float32(0.5),
        np.int64(2),
        np.ones(3),
        np.ones((2, 2)),
        np.array([]),
        np.array("a"),
        np.array([nan]),
        np.array([1, 2], object),
        torch.tensor(0.5),
        torch.tensor(3),
        torch.tensor(nan),
        torch.tensor([]),
        torch.rand(2),
        torch.rand(3, 5),
        torch.rand(4, 3, 5),
        torch.rand(2, 1, 6, 6),
        torch.ones(3, 5, dtype=torch.int64),
        torch.ones(3, 5, dtype=torch.bool),
        torch.full((3, 5), nan),
        torch.full((4, 3, 5), float("inf")),
        torch.rand(3, 5, dtype=torch.float64),
        torch.rand(3, 5).half(),
        torch.rand(3, 5).bfloat16(),
        torch.rand(3, 5, dtype=torch.complex64),
        torch.rand(3, 5, requires_grad=True),
        torch.rand(0, 5),
        torch.rand(3, 0),
        torch.rand(3, 5).to_sparse(),
        nn.Linear(5, 2),
        nn.Sequential(),
        nn.ReLU,
        torch.Generator(),
        torch.float16,
        torch.int32,
        torch.device("cpu"),
        lambda *args: None,
    ]


def variants(value: Any) -> list[Any]:
    """Wrong versions of a valid value."""
    import numpy as np
    import torch

    if isinstance(value, np.ndarray):
        return [value[:0], value.reshape(1, *value.shape), value.astype(object), value.tolist()]
    if not isinstance(value, torch.Tensor):
        return []
    whole = value.detach().clone().float()
    spoilt = whole.clone()
    spoilt.view(-1)[0] = float("nan")
    endless = whole.clone()
    endless.view(-1)[-1] = float("inf")
    return [
        spoilt,
        endless,
        -whole,
        255 * whole,
        1e30 * whole,
        whole.unsqueeze(0),
        whole.unsqueeze(-1),
        whole.flatten(),
        whole[0],
        whole[:0],
        whole[..., :0],
        whole[..., :1],
        torch.cat([whole, whole]),
        torch.cat([whole, whole], -1),
        whole.double(),
        whole.half(),
        whole.bfloat16(),
        whole.long(),
        whole.bool(),
        whole.to(torch.uint8),
        whole.to(torch.complex64),
        whole.numpy(),
        whole.tolist(),
        whole + 0.5,
        whole.clone().requires_grad_(),
    ]


def prepared() -> Case:
    """The function that runs one case."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    groups = {name: list(table(name)) for name in GROUPS}

    def case(seed: int, number: int) -> dict[str, Any]:
        random = np.random.default_rng([seed, number])
        torch.manual_seed(number)
        names = groups[kind(number)]
        name = names[int(random.integers(len(names)))]
        target, made_with, called_with = table(kind(number))[name]
        arguments = {key: value for key, value in made_with.items() if value is not ...}
        later = dict(called_with or {})
        valid = {**later, **arguments}
        spoilt = []
        for _ in range(int(random.choice([1, 1, 1, 2]))):
            where = later if later and (not arguments or random.integers(2)) else arguments
            if not where:
                continue
            key = list(where)[int(random.integers(len(where)))]
            wrong = variants(valid[key])
            pool = wrong if wrong and random.integers(3) else plain_values()
            where[key] = pool[int(random.integers(len(pool)))]
            spoilt.append((key, where[key]))
        spoilt = list(dict(spoilt).items())  # what was spoilt twice counts as it was passed
        text = f"{name}({', '.join(f'{key}={shown(value)}' for key, value in spoilt)})"
        outcome, detail = outcome_of(target, arguments, None if called_with is None else later)
        if outcome == "undocumented" and any(
            key in CALLED and callable(value) for key, value in spoilt
        ):
            outcome = "refused"  # a function of the user raises errors of the user
        if outcome == "returned":
            outcome, detail = judged(name, spoilt, detail)
        detail = f"{text}: {detail}" if outcome not in ("returned", "refused") else ""
        return {"outcome": outcome, "detail": detail}

    return case


def outcome_of(
    target: Any, arguments: dict[str, Any], later: dict[str, Any] | None
) -> tuple[str, Any]:
    """What a call does: returned with its result, refused, or undocumented with the error."""
    try:
        result = target(**arguments)
        return "returned", result(**later) if later is not None else result
    except BaseException as error:  # the campaign checks which errors come from this package
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        assert trace is not None
        file = trace.tb_frame.f_code.co_filename
        line = linecache.getline(file, trace.tb_lineno).strip()
        ours = ("spikeloom" in file or "campaigns" in file) and line.startswith("raise")
        if ours and isinstance(error, DOCUMENTED):
            return "refused", None
        if isinstance(error, FileNotFoundError):
            return "refused", None
        place = "/".join(file.split("/")[-2:])
        return (
            "undocumented",
            f"{type(error).__name__} at {place}:{trace.tb_lineno}: {str(error)[:120]}",
        )


def judged(name: str, spoilt: list[tuple[str, Any]], result: Any) -> tuple[str, str]:
    """Whether a result hides a NaN."""
    if name in NAN_PASSES or without_neurons(dict(spoilt).get("net")):
        return "returned", ""
    given = any(has_nan(value) for _, value in spoilt)
    if has_nan(result):
        return "silent", "the result holds NaN" + (" that was given" if given else "")
    if given:
        return "silent", "NaN was taken without a word"
    return "returned", ""


def without_neurons(net: Any) -> bool:
    """Whether a network has no neuron in which a NaN could look like silence."""
    from torch import nn

    import spikeloom as snn

    if net is print:  # a function that takes anything
        return True
    return isinstance(net, nn.Module) and not any(isinstance(m, snn.Neuron) for m in net.modules())


def has_nan(value: Any) -> bool:
    """Whether NaN is somewhere in a number, tensor, array, list or record."""
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        return value.device.type != "meta" and bool(value.detach().to_dense().isnan().any())
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fc" and bool(np.isnan(value).any())
    if isinstance(value, (tuple, list)):
        return any(has_nan(each) for each in value)
    return isinstance(value, float) and value != value


def shown(value: Any) -> str:
    """A value in a few words."""
    if hasattr(value, "shape"):
        nan = " with NaN" if has_nan(value) else ""
        return f"{type(value).__name__}{tuple(value.shape)} {value.dtype}{nan}"
    return repr(value)[:40]


if __name__ == "__main__":
    sys.exit(campaign(__file__, "calls", 100_000, kind, prepared))
