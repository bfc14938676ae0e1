"""The plan of a recorded call says what was done and what forced a value; export and compilation
around recordings."""

import copy
import inspect
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core.taps import Moment, Watch
from spikeloom.running.memo import Memo
from spikeloom.running.special_layers import StackLayer

STEPS = 5
X = torch.rand(STEPS, 24, 3, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A loop over time with a function of the step's spikes in it."""

    def __init__(self, peek: Any = None) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(3, 4), snn.Leaky(0.9, init_hidden=True, threshold=0.2)
        self.peek = peek

    def forward(self, x: Tensor) -> Tensor:
        self.lif.reset_mem()
        out = []
        for x_t in x:
            spk = self.lif(self.fc(x_t))
            if self.peek is not None:
                self.peek(spk)
            out.append(spk)
        return torch.stack(out)


def if_it_is_large(spk: Tensor) -> Any:
    return 1 if spk.sum() > 1e9 else 0


def its_item(spk: Tensor) -> Any:
    return spk.detach().max().item()


def its_float(spk: Tensor) -> Any:
    return float(spk.detach().mean())


def its_array(spk: Tensor) -> Any:
    return spk.detach().numpy()


def its_text(spk: Tensor) -> Any:
    return str(spk)


def its_list(spk: Tensor) -> Any:
    return spk.tolist()


PEEKS = [if_it_is_large, its_item, its_float, its_array, its_text, its_list]


@pytest.mark.parametrize("peek", PEEKS, ids=lambda f: f.__name__)
def test_the_plan_names_file_and_line_of_what_forced_a_value_and_how_often(peek: Any) -> None:
    line = inspect.getsourcelines(peek)[1] + 1
    recorded = snn.layerwise(Net(peek))
    recorded(X)
    forced = {(file, number): count for _, file, number, count in recorded.plan.forced}
    assert forced == {(__file__, line): STEPS}
    assert f"{line}" in str(recorded.plan) and "test_layerwise_plan.py" in str(recorded.plan)


def test_nothing_is_forced_where_no_value_is_needed() -> None:
    recorded = snn.layerwise(Net())
    recorded(X)
    assert list(recorded.plan.forced) == []
    assert recorded.plan.layerwise and recorded.plan.rows
    assert "fc" in str(recorded.plan) and "lif" in str(recorded.plan)


def test_shapes_types_and_flags_force_nothing() -> None:
    def describe(spk: Tensor) -> Any:
        return (
            spk.shape,
            spk.size(0),
            spk.dtype,
            spk.device,
            spk.requires_grad,
            spk.dim(),
            len(spk),
            spk.numel(),
        )

    recorded = snn.layerwise(Net(describe))
    recorded(X)
    assert list(recorded.plan.forced) == []


class Deep(nn.Module):
    """A hundred layers in each step, as deep networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(3, 3) for _ in range(100)))
        self.lif = snn.Leaky(0.9, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(self.layers(x) + x)


def test_a_deep_network_is_recorded_to_its_end() -> None:
    net = Deep()

    def loop(x: Tensor) -> Tensor:
        snn.reset(net)
        return torch.stack([net(x_t) for x_t in x])

    decorated = snn.layerwise(loop)
    decorated(X)
    for plan in (decorated.plan, snn.run(net, X, explain=True).plan):
        assert plan.layerwise and not plan.forced


def test_the_plan_is_that_of_the_last_call() -> None:
    net = Net(its_item)
    recorded = snn.layerwise(net)
    recorded(X)
    net.peek = None
    recorded(X)
    assert list(recorded.plan.forced) == []


def test_a_decorated_function_has_a_plan_too() -> None:
    net = Net(its_item)
    recorded = snn.layerwise(lambda x: net(x) * 2)
    recorded(X)
    assert [count for *_, count in recorded.plan.forced] == [STEPS]


def test_snn_run_explains_what_forced_a_value() -> None:
    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = nn.Linear(3, 4), snn.Leaky(0.9, init_hidden=True)

        def forward(self, x: Tensor) -> Tensor:
            spk = self.lif(self.fc(x))
            its_item(spk)
            return spk

    plan = snn.run(Step(), X, explain=True).plan
    line = inspect.getsourcelines(its_item)[1] + 1
    assert [(file, number, count) for _, file, number, count in plan.forced] == [
        (__file__, line, STEPS)
    ]


# -- what is built around recordings ------------------------------------------


class Runs(nn.Module):
    """A module that calls `snn.run`."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), snn.Leaky(0.9, init_hidden=True, threshold=0.2))

    def forward(self, x: Tensor) -> Tensor:
        return snn.run(self.net, x)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch warns of itself
def test_a_module_that_calls_run_is_exported() -> None:
    net = Runs().eval()
    exported = torch.export.export(net, (X,))
    torch.testing.assert_close(exported.module()(X), net(X))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_module_that_calls_run_is_written_as_onnx() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    assert torch.onnx.export(Runs().eval(), (X,), dynamo=True) is not None


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("make", [Runs, lambda: snn.layerwise(Net())], ids=["run", "layerwise"])
def test_torch_compile_around_a_recording_changes_nothing(make: Any) -> None:
    torch.manual_seed(1)
    net = make()
    compiled = torch.compile(net, backend="aot_eager")
    found = []
    for module in (net, compiled):
        net.zero_grad()
        output = module(X)
        output.sum().backward()
        found.append([output.detach(), *(p.grad.clone() for p in net.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_a_transform_of_torch_func_around_a_recording_sees_the_plain_loop() -> None:
    net = Net()
    recorded = snn.layerwise(net)
    batched = torch.vmap(recorded, in_dims=1, out_dims=1)(X)
    torch.testing.assert_close(batched, net(X))


@pytest.mark.parametrize(
    "make",
    [
        lambda: snn.Leaky(0.9, init_hidden=True),
        lambda: snn.RLeaky(0.9, linear_features=4, init_hidden=True),
        lambda: snn.RLeaky(0.9, all_to_all=False, init_hidden=True),
    ],
    ids=["no module inside", "linear inside", "factor inside"],
)
def test_the_next_step_of_a_neuron_was_not_recognised_and_its_key_computed_again(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    holds = Memo.holds

    def watched(*arguments: Any) -> bool:
        found.append(holds(*arguments))
        return found[-1]

    monkeypatch.setattr(Memo, "holds", watched)
    net = Net()
    net.lif = make()
    snn.layerwise(net)(X)
    assert found == [True] * (STEPS - 1)


def test_stacking_all_steps_of_an_output_copied_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bool] = []
    whole = StackLayer._whole

    def watched(*arguments: Any) -> Tensor | None:
        value = whole(*arguments)
        found.append(value is not None)
        return value

    monkeypatch.setattr(StackLayer, "_whole", watched)
    net = Net()
    torch.testing.assert_close(snn.layerwise(net)(X), net(X))
    snn.layerwise(lambda x: torch.stack([net(x)[0], x[0] @ net.fc.weight.T]))(X)
    assert found == [True, True, False]  # of two outputs


def test_a_delay_ran_step_by_step_or_lost_the_states_between() -> None:
    """All steps run at once unless states of other steps than the last one are read."""
    states: list[Tensor] = []

    class Delayed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.delay = nn.Linear(3, 3), snn.SynapticDelay(2)

        def forward(self, x: Tensor, keep: bool) -> Tensor:
            snn.reset(self)
            states.clear()
            out = []
            for x_t in x:
                out.append(self.delay(self.fc(x_t)))
                if keep:
                    states.append(self.delay._hidden[0])
            return torch.stack(out)

    net = Delayed()
    recorded = snn.layerwise(net)
    for keep, how in ((False, "all steps at once"), (True, "step by step")):
        found, kept = recorded(X, keep), [*states]
        assert str(recorded.plan).splitlines()[-1].endswith(f"SynapticDelay  {how}")
        torch.testing.assert_close(found, net(X, keep))
        torch.testing.assert_close(kept, states)


def leaky(**options: Any) -> snn.Leaky:
    return snn.Leaky(0.9, threshold=0.3, init_hidden=True, **options)


def with_its_own(name: str) -> snn.Leaky:
    neuron = leaky()
    setattr(neuron, name, getattr(neuron, name))
    return neuron


def with_a_hook_inside() -> snn.RLeaky:
    neuron = snn.RLeaky(0.9, threshold=0.3, linear_features=4, init_hidden=True)
    neuron.recurrent.register_forward_hook(lambda *arguments: None)
    return neuron


def saved_tensors_hooks() -> Any:
    return torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)


def with_a_random_threshold() -> snn.Leaky:
    return snn.noisy(leaky(), threshold=0.1, generator=torch.Generator().manual_seed(0))


IMMEDIATE: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "inference mode": (leaky, torch.inference_mode),
    "hooks for saved tensors": (leaky, saved_tensors_hooks),
    "its class overrides step": (lambda: with_its_own("step"), nullcontext),
    "its class overrides how it runs": (lambda: with_its_own("initial"), nullcontext),
    "its random threshold": (with_a_random_threshold, nullcontext),
    "sequence mode": (lambda: leaky(mode="sequence"), nullcontext),
    "hooks of a module in it": (with_a_hook_inside, nullcontext),
}


@pytest.mark.parametrize("reason", IMMEDIATE)
def test_a_neuron_was_recorded_that_must_run_at_once_or_the_plan_does_not_say_why(
    reason: str,
) -> None:
    make, context = IMMEDIATE[reason]
    fc = nn.Linear(3, 4)
    torch.manual_seed(0)
    neuron = make()

    def loop(x: Tensor) -> Tensor:
        snn.reset(neuron)
        out = []
        for x_t in x:
            current = fc(x_t if neuron.mode == "step" else x_t.unsqueeze(1))
            with context():
                out.append(neuron(current).sum().item())
        return torch.tensor(out)

    expected = loop(X)
    torch.manual_seed(0)
    neuron = make()  # its generator and its weights begin again
    recorded = snn.layerwise(loop)
    torch.testing.assert_close(recorded(X), expected)
    forced = [what for what, *_ in recorded.plan.forced]
    assert f"{type(neuron).__name__} ({reason})" in forced


@pytest.mark.parametrize("steps", [1, STEPS])
def test_an_observer_of_a_layer_was_not_told_that_it_ran_over_time(steps: int) -> None:
    seen: list[Moment] = []
    net = Net()
    net.fc.register_forward_hook(Watch(lambda layer, moment: seen.append(moment)))
    snn.layerwise(net)(X[:steps])
    (recorded,) = seen
    x = X if steps > 1 else X[0]
    assert (recorded.timed, recorded.repeat) == (True if steps > 1 else None, 1)
    torch.testing.assert_close(recorded.x, x)
    torch.testing.assert_close(recorded.output, net.fc(x))
    seen.clear()
    net(X[:steps])
    assert [moment.timed for moment in seen] == [None] * steps


def test_a_copy_of_an_observed_network_was_observed_or_did_not_run() -> None:
    seen: list[Moment] = []
    net = Net()
    net.fc.register_forward_hook(Watch(lambda layer, moment: seen.append(moment)))
    copies = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    for each in copies:
        for run in (each, snn.layerwise(each)):
            torch.testing.assert_close(run(X), net(X))
    assert len(seen) == 4 * STEPS  # those of the network itself
