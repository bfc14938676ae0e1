"""What scripts for snnTorch rely on: private attributes and modules, order of parameters, neurons
in plain lists."""

import importlib
from typing import Any

import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom import Neuron

# -- attributes that scripts read ------------------------------------------------------------------


def test_scripts_find_the_reset_mechanism_the_reset_signal_and_their_table() -> None:
    neuron = snn.Leaky(1.0, reset_mechanism="zero", init_hidden=True)
    assert neuron._reset_mechanism == "zero"
    assert snn.SpikingNeuron.reset_dict == {"subtract": 0, "zero": 1, "none": 2}
    assert not hasattr(neuron, "reset")
    signals = []
    for _ in range(3):
        neuron(torch.full((1, 1), 0.75))
        signals.append(neuron.reset.item())
    assert signals == [0.0, 0.0, 1.0]
    neuron.mem = torch.full((1, 1), 2.0)
    neuron.reset = neuron.mem_reset(neuron.mem)
    assert neuron.state_function(torch.full((1, 1), 0.5)).item() == 0.5


@pytest.mark.parametrize("name", ["Synaptic", "Alpha", "RSynaptic"])
def test_optimizer_checkpoints_of_snntorch_meet_the_parameters_in_its_order(name: str) -> None:
    options = {
        "alpha": 0.9,
        "beta": 0.8,
        "learn_alpha": True,
        "learn_beta": True,
        "learn_threshold": True,
    }
    if name == "RSynaptic":
        options |= {"all_to_all": False, "V": 0.5}
    names = [n for n, _ in getattr(snn, name)(**options).named_parameters()]
    assert names == ["threshold", "beta", *(["V"] if name == "RSynaptic" else []), "alpha"]


def test_the_beta_of_a_loaded_leaky_parallel_could_not_be_set_by_snntorchs_methods() -> None:
    betas = torch.tensor([0.1, 0.5, 0.9])
    neuron = snn.LeakyParallel(2, 3, beta=0.3)
    neuron.load_state_dict(snn.LeakyParallel(2, 3, beta=0.7).state_dict())
    recurrent = neuron.rnn.get_parameter("weight_hh_l0")
    neuron._beta_buffer(betas, learn_beta=False)
    neuron._beta_to_weight_hh()
    assert torch.equal(recurrent, betas.unsqueeze(1).expand(3, 3))
    neuron.weight_hh_enable()
    assert torch.equal(recurrent, torch.diag(betas))
    assert torch.equal(neuron.grad_hook(torch.ones(3, 3)), torch.eye(3))


class SkippingRateLoss(snn.functional.LossFunctions):
    """A loss as scripts for snnTorch write it, with its methods."""

    def __init__(self, reduction: str = "mean", weight: Any = None, skipped: int = -100) -> None:
        super().__init__(reduction=reduction, weight=weight)
        self.skipped = skipped

    def _compute_loss(self, spk_out: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        device, num_steps, _ = self._prediction_check(spk_out)
        reduction = self._intermediate_reduction()
        loss_fn = nn.NLLLoss(weight=self.weight, reduction=reduction, ignore_index=self.skipped)
        loss = torch.zeros(spk_out.size(1) if reduction == "none" else 1, device=device)
        for step in range(num_steps):
            loss = loss + loss_fn(spk_out[step].log_softmax(-1), targets)
        return loss / num_steps


class CountLoss(snn.functional.LossFunctions):
    """The older style: neither the constructor nor the reduction of the base."""

    def __init__(self) -> None:
        self.__name__ = "count_loss"

    def __call__(self, spk_out: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        _, num_steps, num_outputs = self._prediction_check(spk_out)
        counts = self._population_code(spk_out, num_classes=2, num_outputs=num_outputs)
        return nn.functional.mse_loss(counts, targets) / num_steps


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 1.0, 2.0])])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_loss_that_calls_the_methods_of_snntorchs_base_failed(
    reduction: str, weight: Any
) -> None:
    spk = (torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    labels = torch.tensor([0, 2, 1, 2])
    built_in = snn.functional.ce_rate_loss(reduction=reduction, weight=weight)
    own = SkippingRateLoss(reduction, weight)(spk, labels)
    torch.testing.assert_close(own.reshape(-1), built_in(spk, labels).reshape(-1))
    assert SkippingRateLoss(skipped=2)(spk, torch.tensor([2, 2, 1, 2])) == pytest.approx(
        SkippingRateLoss()(spk[:, 2:3], torch.tensor([1])).item()
    )


def test_a_loss_without_the_constructor_of_its_base_failed() -> None:
    spk = torch.tensor([[[1.0, 0.0, 1.0, 1.0]], [[0.0, 1.0, 0.0, 1.0]]])
    assert CountLoss()(spk, torch.tensor([[2.0, 1.0]])) == 1.0  # counts [2, 3], two steps


def test_scripts_import_the_helpers_of_the_accuracies() -> None:
    from spikeloom.functional.acc import _population_code, _prediction_check

    spk = torch.tensor([[[1.0, 0.0, 1.0, 1.0]], [[0.0, 1.0, 0.0, 1.0]]], dtype=torch.float64)
    device, num_steps, num_outputs = _prediction_check(spk)
    assert (device, num_steps, num_outputs) == (torch.device("cpu"), 2, 4)
    counts = _population_code(spk, 2, num_outputs)
    assert torch.equal(counts, torch.tensor([[2.0, 3.0]], dtype=torch.float64))
    assert torch.equal(_population_code(spk, 2, 2), torch.ones(1, 2, dtype=torch.float64))


def test_scripts_find_the_padding_of_neurons_with_convolutions() -> None:
    assert snn.SConv2dLSTM(1, 2, (3, 5)).padding == (1, 2)
    assert snn.RLeaky(0.9, conv2d_channels=2, kernel_size=3).padding == (1, 1)
    assert snn.RSynaptic(0.9, 0.8, conv2d_channels=2, kernel_size=(5, 3)).padding == (2, 1)


@pytest.mark.parametrize("init_hidden", [False, True])
def test_a_state_that_was_reset_is_empty_and_fits_a_batch_of_another_size(
    init_hidden: bool,
) -> None:
    neuron = snn.Synaptic(0.9, 0.8, init_hidden=init_hidden, output=True)
    first = neuron(torch.ones(3, 4))
    syn, mem = neuron.init_synaptic()
    assert syn.shape == mem.shape == neuron.mem.shape == (0,)
    given = () if init_hidden else (syn, mem)
    for found, before in zip(neuron(torch.ones(2, 4), *given), first, strict=True):
        assert torch.equal(found, before[:2])


# -- module names that scripts import --------------------------------------------------------------

MODULES = {
    "alpha": "Alpha",
    "associative": "AssociativeLeaky",
    "deltaleaky": "DeltaLeaky",
    "lapicque": "Lapicque",
    "leaky": "Leaky",
    "leakyparallel": "LeakyParallel",
    "linearleaky": "LinearLeaky",
    "neurons": "LIF SpikingNeuron",
    "rleaky": "RLeaky",
    "rsynaptic": "RSynaptic",
    "sconv2dlstm": "SConv2dLSTM",
    "slstm": "SLSTM",
    "stateleaky": "StateLeaky",
    "synaptic": "Synaptic",
}


@pytest.mark.parametrize("module", MODULES)
def test_the_private_module_of_a_neuron_is_found_under_snntorchs_name(module: str) -> None:
    for name in MODULES[module].split():
        assert getattr(importlib.import_module(f"spikeloom._neurons.{module}"), name) is getattr(
            snn, name
        )


def test_the_private_modules_of_layers_are_found_under_snntorchs_names() -> None:
    for module, name in (
        ("bntt", "BatchNormTT1d"),
        ("bntt", "BatchNormTT2d"),
        ("graded_spikes", "GradedSpikes"),
    ):
        assert getattr(importlib.import_module(f"spikeloom._layers.{module}"), name) is getattr(
            snn, name
        )


# -- neurons that no module registers --------------------------------------------------------------


class Holder:
    def __init__(self, neuron: Neuron) -> None:
        self.neuron = neuron


HELD = {
    "a list": lambda neuron: [neuron],
    "a list in a tuple": lambda neuron: ([neuron],),
    "a dictionary": lambda neuron: {"a": neuron},
    "an object": Holder,
    "a network in a list": lambda neuron: [nn.Sequential(neuron)],
}


@pytest.mark.parametrize("hold", HELD.values(), ids=list(HELD))
def test_neurons_in_plain_containers_are_reset_and_detached_with_their_network(hold: Any) -> None:
    net, neuron, other = (
        nn.Sequential(nn.Identity()),
        snn.Leaky(0.9, init_hidden=True, learn_beta=True),
        snn.Leaky(0.9),
    )
    net[0].kept = hold(neuron)
    for each in (neuron, other):
        each(torch.ones(1, 2))
    snn.detach(net)
    assert neuron.mem.shape == (1, 2) and not neuron.mem.requires_grad
    snn.utils.reset(net)
    assert neuron.mem.shape == (0,) and other.mem.shape == (1, 2)
