"""What a trace of the user's Python got wrong about modes of torch and about decisions."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training import SETTINGS, split
from ways import Cell, as_the_loop, every_way, runs

import spikeloom as snn

X = torch.rand(8, 24, 3, generator=torch.Generator().manual_seed(0)) * 2


# -- modes ------------------------------------------


class Frozen(Cell):
    """An encoder under a mode, and a head that learns."""

    def __init__(self, mode: Any) -> None:
        super().__init__()
        self.enc, self.mode = nn.Linear(3, 3), mode

    def forward(self, x: Tensor) -> Tensor:
        with self.mode():
            h = self.enc(x)
        return self.lif(self.fc(h.clone()))


NO_GRADIENT = {
    "no_grad": torch.no_grad,
    "set_grad_enabled": lambda: torch.set_grad_enabled(False),
    "inference_mode": torch.inference_mode,
}


@every_way
@pytest.mark.parametrize("mode", NO_GRADIENT.values(), ids=NO_GRADIENT)
def test_a_frozen_encoder_was_trained_under(way: str, mode: Any) -> None:
    net, *_ = as_the_loop(way, lambda: Frozen(mode), X)
    assert net.enc.weight.grad is None and net.fc.weight.grad is not None


@pytest.mark.parametrize("made", ["input", "network"])
def test_tensors_made_in_inference_mode_were_asked_for_their_version(made: str) -> None:
    with torch.inference_mode(made == "input"):
        x = X.repeat(1, 1, 9)
    with torch.inference_mode(made == "network"):
        net = nn.Sequential(nn.Linear(27, 4), snn.Leaky(0.9, init_hidden=True))

    def spikes() -> Tensor:
        snn.reset(net)
        return torch.stack([net(x[step]) for step in range(len(x))])

    with torch.no_grad():
        assert torch.equal(snn.layerwise(spikes)(), spikes())


@every_way
@pytest.mark.parametrize("learn", [False, True], ids=["nothing learns", "under no_grad"])
def test_a_spike_that_has_no_gradient_said_that_it_has_one(way: str, learn: bool) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            with torch.set_grad_enabled(not learn):
                spk = self.lif(x)
            seen.append(spk.requires_grad)
            return spk

    seen: list[bool] = []
    runs(way, Net(learn_beta=learn), X)
    assert set(seen) == {False}


@every_way
def test_a_decorated_helper_lost_its_no_grad(way: str) -> None:
    class Net(Cell):
        @torch.no_grad()
        def encode(self, x: Tensor) -> Tensor:
            return self.fc(x)

        def forward(self, x: Tensor) -> Tensor:
            return self.lif(self.encode(x) + x.sum(1, keepdim=True))

    net, *_ = as_the_loop(way, Net, X)
    assert net.fc.weight.grad is None


@every_way
def test_autocast_inside_forward_was_computed_in_full_precision(way: str) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                half = nn.functional.linear(x.float(), self.fc.weight.float())
            self.dtype = half.dtype
            return self.lif(half.double() * 0.5)

    net, *_ = as_the_loop(
        way, Net, X, tolerance=8 * torch.finfo(torch.bfloat16).eps
    )  # one rounding a step
    assert net.dtype == torch.bfloat16


@every_way
def test_autocast_switched_off_inside_was_still_on(way: str) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False):
                h = nn.functional.linear(x.float(), self.fc.weight.float())
            self.dtype = h.dtype
            return self.lif(h.double())

    net, *_ = as_the_loop(way, Net, X, tolerance=16 * torch.finfo(torch.float32).eps)
    assert net.dtype == torch.float32


@every_way
def test_a_step_outside_of_autocast_was_one_more_step_inside_of_it(way: str) -> None:
    class Net(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.taken, self.dtypes = 0, []

        def forward(self, x: Tensor) -> Tensor:
            self.taken += 1
            with torch.autocast("cpu", torch.bfloat16, enabled=self.taken % 3 > 0):
                h = nn.functional.linear(x.float(), self.fc.weight.float())
            self.dtypes.append(h.dtype)
            return self.lif(h.double() * 0.5)

    net, twin, _ = as_the_loop(way, Net, X, tolerance=8 * torch.finfo(torch.bfloat16).eps)
    assert net.dtypes == twin.dtypes and len(set(net.dtypes)) == 2


def test_fit_trained_what_forward_freezes() -> None:
    class Net(Frozen):
        def __init__(self) -> None:
            super().__init__(torch.no_grad)
            self.enc, self.fc = nn.Linear(6, 3), nn.Linear(3, 3)

    torch.manual_seed(0)
    net = Net()
    before = net.enc.weight.clone(), net.fc.weight.clone()
    snn.fit(net, split(), **SETTINGS)
    assert torch.equal(net.enc.weight, before[0])
    assert not torch.equal(net.fc.weight, before[1])


TYPE_CHECKS = {"isinstance": lambda x: isinstance(x, Tensor), "is_tensor": torch.is_tensor}

# -- branches ------------------------------------------


@every_way
@pytest.mark.parametrize(
    "is_tensor", [lambda x: isinstance(x, Tensor), torch.is_tensor], ids=["isinstance", "is_tensor"]
)
def test_a_branch_on_the_type_of_the_input_was_not_taken(way: str, is_tensor: Any) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            if is_tensor(x):
                x = x / 10
            return self.lif(self.fc(x))

    as_the_loop(way, Net, X * 5)


@every_way
@pytest.mark.parametrize("output", [False, True])
def test_a_branch_on_what_a_neuron_returns_was_wrong(way: str, output: bool) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            out = self.lif(self.fc(x))
            return out[0] if isinstance(out, tuple) else out * 2

    *_, out = as_the_loop(way, lambda: Net(output=output), X)
    assert type(out) is Tensor


@every_way
def test_a_swallowed_error_sent_the_step_another_way(way: str) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            try:
                scale = float(x.detach().max())
            except Exception:
                scale = 0.0
            return self.lif(self.fc(x) * scale)

    as_the_loop(way, Net, X)


@every_way
def test_a_caught_shape_error_is_caught_in_the_step_where_it_happens(way: str) -> None:
    class Net(Cell):
        step = 0

        def forward(self, x: Tensor) -> Tensor:
            self.step += 1
            try:
                h = self.fc(x[:, :2] if self.step == 3 else x)
            except RuntimeError:
                h = self.fc(x * 0)
            return self.lif(h)

    as_the_loop(way, Net, X)


@every_way
def test_the_state_before_a_call_was_the_one_of_the_trace(way: str) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            previous = self.lif.mem if self.lif.mem.numel() else 0.0
            return self.lif(self.fc(x) + 0.3 * previous)

    as_the_loop(way, Net, X)


@every_way
def test_a_decision_on_the_state_after_a_call_was_made_once(way: str) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            spk = self.lif(self.fc(x))
            return spk * 2 if self.lif.mem.mean() > 0.2 else spk

    as_the_loop(way, Net, X)


# -- functions with a gradient of their own --------------


class Zif(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return grads[0] * (1 - x.abs()).clamp(min=0)


class Inherited(Zif):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return 7 * grads[0]


class Pair(Zif):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        return Zif.forward(ctx, x), 2 * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return Zif.backward(ctx, grads[0]) + 2 * grads[1]


class Reversed(Zif):
    """Returns its input, of which torch makes a view."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return -grads[0]


class Doubled(Reversed):
    """Writes its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        ctx.mark_dirty(x)
        return x.mul_(2)


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Any:
        return x.round()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0] * ctx.saved_tensors[0]


APPLIED = {f.__name__: f.apply for f in (Zif, Inherited, Pair, Reversed, Doubled, Rounded)}


class Applying(Cell):
    def __init__(self, apply: Any) -> None:
        super().__init__()
        self.apply_to = apply

    def forward(self, x: Tensor) -> Tensor:
        found = self.apply_to(self.fc(x) + 0)
        return self.lif(sum(found) if isinstance(found, tuple) else found)


@every_way
@pytest.mark.parametrize("apply", APPLIED.values(), ids=APPLIED)
def test_a_function_that_was_bound_before_the_first_loop_lost_its_gradient(
    way: str, apply: Any
) -> None:
    as_the_loop(way, lambda: Applying(apply), X)
