"""Programs written for snnTorch's documentation run with only the import changed: encoding,
neurons, plots.

Each test uses the calls of one chapter as they are documented there, on tiny data. Training is in
`test_reference_training`. What the programs need besides snnTorch (torchvision, Tonic) is replaced
by tensors.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn as nn

import spikeloom as snn
import spikeloom.spikeplot as splt
from spikeloom import spikegen, surrogate, utils

STEPS = 20


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


class Images(torch.utils.data.Dataset):
    """What torchvision's MNIST offers: ``data`` and ``targets``, and items (image, class)."""

    def __init__(self, number: int = 40) -> None:
        self.data = torch.rand(number, 1, 28, 28)
        self.targets = torch.arange(number) % 10

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int):
        return self.data[index], self.targets[index]


def images(batch_size: int = 8):
    return next(
        iter(
            torch.utils.data.DataLoader(
                utils.data_subset(Images(), 2), batch_size=batch_size, shuffle=True
            )
        )
    )


def test_tutorial_1_subsets_and_rate_codes() -> None:
    assert len(utils.data_subset(Images(40), 10)) == 4
    data_it, _ = images()
    spike_data = spikegen.rate(data_it, num_steps=STEPS)
    assert spike_data.size() == torch.Size([STEPS, 8, 1, 28, 28])
    quarter = spikegen.rate(data_it, num_steps=STEPS, gain=0.25)
    assert 3 < spike_data.mean() / quarter.mean() < 5
    train = spikegen.rate_conv(torch.rand((STEPS, 28, 28), dtype=torch.float) * 0.5)
    assert set(train.unique().tolist()) == {0, 1}


def test_tutorial_1_latency_codes_fire_once_and_bright_first() -> None:
    data_it, _ = images()
    for options in ({}, {"linear": True}, {"normalize": True, "linear": True}):
        spk = spikegen.latency(data_it, num_steps=100, tau=5, threshold=0.01, **options)
        assert spk.sum(0).eq(1).all()
    dark = data_it * (data_it > 0.5)
    clipped = spikegen.latency(
        dark, num_steps=100, tau=5, threshold=0.01, clip=True, normalize=True, linear=True
    )
    assert clipped.sum(0).equal((dark > 0.5).float())
    assert clipped.argmax(0).flatten()[dark.argmax()] == 0


def test_tutorial_1_delta_modulation() -> None:
    data = torch.Tensor([0, 1, 0, 2, 8, -20, 20, -5, 0, 1, 0])
    assert spikegen.delta(data, threshold=4).tolist() == [0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0]
    spike_data = spikegen.delta(data, threshold=4, off_spike=True)
    assert str(spike_data) == "tensor([ 0.,  0.,  0.,  0.,  1., -1.,  1., -1.,  1.,  0.,  0.])"
    splt.raster(spike_data, plt.figure(facecolor="w", figsize=(8, 1)).add_subplot(111), c="black")


def test_tutorial_1_pictures(tmp_path: Path) -> None:
    spike_data = spikegen.rate(torch.rand(2, 1, 28, 28), num_steps=5)
    sample = spike_data[:, 0, 0]
    fig, ax = plt.subplots()
    anim = splt.animator(sample, fig, ax)
    anim.save(tmp_path / "spikes.gif")
    assert (tmp_path / "spikes.gif").stat().st_size > 0 and "<img" in anim.to_jshtml()
    fig = plt.figure(facecolor="w", figsize=(10, 5))
    splt.raster(sample.reshape((5, -1)), fig.add_subplot(111), s=1.5, c="black")
    plt.title("Input Layer")
    splt.raster(
        sample.reshape(5, -1)[:, 210].unsqueeze(1),
        plt.figure().add_subplot(111),
        s=100,
        c="black",
        marker="|",
    )
    plt.imshow(sample.mean(axis=0).reshape((28, -1)).cpu().numpy(), cmap="binary")


def drive(
    neuron: nn.Module, current: torch.Tensor, mem: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loop of tutorials 2 and 3: the membrane goes in and comes out, the first one is recorded
    too."""
    mem_rec, spk_rec = [mem], [torch.zeros(1)]
    for step in range(len(current)):
        spk_out, mem = neuron(current[step], mem)
        mem_rec.append(mem)
        spk_rec.append(spk_out)
    return torch.stack(spk_rec), torch.stack(mem_rec)


def test_tutorial_2_lapicque_decays_and_charges_as_printed() -> None:
    lif1 = snn.Lapicque(R=5, C=1e-3, time_step=1e-3)
    _, mem_rec = drive(lif1, torch.zeros(100, 1), torch.ones(1) * 0.9)
    torch.testing.assert_close(mem_rec[:, 0], 0.9 * 0.8 ** torch.arange(101.0))
    cur_in = torch.cat((torch.zeros(10, 1), torch.ones(190, 1) * 0.1), 0)
    _, mem_rec = drive(lif1, cur_in, torch.zeros(1))
    assert float(cur_in[11] * lif1.R) == 0.5
    assert mem_rec[200][0].item() == pytest.approx(0.5, abs=1e-6)


def test_tutorial_2_lapicque_fires_where_the_text_says() -> None:
    lif2 = snn.Lapicque(R=5.1, C=5e-3, time_step=1e-3)
    assert f"{lif2.R * lif2.C:.3f}" == "0.025" or f"{float(lif2.R * lif2.C):.4f}" == "0.0255"
    cur_in = torch.cat((torch.zeros(10, 1), torch.ones(190, 1) * 0.2), 0)
    spk_rec, _ = drive(lif2, cur_in, torch.zeros(1))
    assert spk_rec[105:115].view(-1).tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    counts = []
    for threshold, reset in ((1.0, "subtract"), (0.5, "subtract"), (0.5, "zero")):
        lif = snn.Lapicque(
            R=5.1, C=5e-3, time_step=1e-3, threshold=threshold, reset_mechanism=reset
        )
        spk_in = spikegen.rate_conv(torch.ones((200, 1)) * 0.40)
        counts.append(drive(lif, spk_in, torch.ones(1) * 0.5)[0].sum().item())
    assert counts[0] < counts[1] and counts[2] < counts[1]


def test_tutorial_3_leaky_takes_currents_without_axes() -> None:
    cur_in = torch.cat((torch.zeros(10), torch.ones(190) * 0.21), 0)
    lif1 = snn.Leaky(beta=0.8)
    mem, spk = torch.zeros(1), torch.zeros(1)
    mem_rec, spk_rec = [], []
    for step in range(200):
        spk, mem = lif1(cur_in[step], mem)
        mem_rec.append(mem)
        spk_rec.append(spk)
    assert torch.stack(mem_rec).shape == (200,) and torch.stack(spk_rec).sum() > 5


@pytest.mark.slow
def test_tutorial_3_feedforward_network_and_its_pictures(tmp_path: Path) -> None:
    fc1, lif1, fc2, lif2 = (
        nn.Linear(784, 50),
        snn.Leaky(beta=0.99),
        nn.Linear(50, 10),
        snn.Leaky(beta=0.99),
    )
    mem1, mem2 = lif1.init_leaky(), lif2.init_leaky()
    spk_in = spikegen.rate_conv(torch.rand((STEPS, 784))).unsqueeze(1)
    assert spk_in.size() == torch.Size([STEPS, 1, 784])
    mem2_rec, spk2_rec = [], []
    for step in range(STEPS):
        spk1, mem1 = lif1(fc1(spk_in[step]), mem1)
        spk2, mem2 = lif2(fc2(spk1), mem2)
        mem2_rec.append(mem2)
        spk2_rec.append(spk2)
    mem2_rec, spk2_rec = torch.stack(mem2_rec), torch.stack(spk2_rec).squeeze(1).detach().cpu()
    fig, ax = plt.subplots(facecolor="w", figsize=(12, 7))
    anim = splt.spike_count(spk2_rec, fig, ax, labels=[str(i) for i in range(10)], animate=True)
    anim.save(tmp_path / "count.gif")
    splt.traces(mem2_rec.squeeze(1), spk=spk2_rec.squeeze(1))
    plt.gcf().set_size_inches(8, 6)
    assert len(plt.gcf().axes) == 9


def test_tutorial_4_synaptic_and_alpha() -> None:
    syn_neuron = snn.Synaptic(alpha=0.9, beta=0.8)
    spk_in = torch.cat((torch.ones(1) * 0.2, torch.zeros(9)), 0).repeat(20)
    syn, mem = syn_neuron.init_synaptic()
    currents = []
    for step in range(200):
        _, syn, mem = syn_neuron(spk_in[step], syn, mem)
        currents.append(syn)
    assert torch.stack(currents)[:10].tolist() == pytest.approx([0.2 * 0.9**i for i in range(10)])

    alpha_neuron = snn.Alpha(alpha=0.8, beta=0.7, threshold=0.5)
    spk_in = (torch.cat((torch.zeros(10), torch.ones(1), torch.zeros(89)), 0) * 0.85).unsqueeze(1)
    syn_exc, syn_inh, mem = alpha_neuron.init_alpha()
    mem_rec = []
    for step in range(100):
        _, syn_exc, syn_inh, mem = alpha_neuron(spk_in[step], syn_exc, syn_inh, mem)
        mem_rec.append(mem.squeeze(0))
    peak = int(torch.stack(mem_rec).argmax())
    assert peak > 10, "the alpha function rises after its spike"


def test_regression_2_recurrent_neurons_with_and_without_all_to_all_feedback() -> None:
    kinds = [
        (snn.RLeaky(beta=0.9, all_to_all=False), torch.rand(1)),
        (snn.RLeaky(beta=0.9, linear_features=10), torch.rand(10)),
        (snn.RLeaky(beta=0.9, conv2d_channels=3, kernel_size=(5, 5)), torch.rand(3, 32, 32)),
    ]
    for rlif, x in kinds:
        spk, mem = rlif.init_rleaky()
        for _ in range(10):
            spk, mem = rlif(x, spk, mem)
        assert spk.shape == x.shape == mem.shape
    rlif = snn.RLeaky(beta=0.9, all_to_all=False, learn_recurrent=False)
    rlif.V = torch.rand(1)
    assert 0 <= rlif.V.item() < 1
    assert not list(rlif.parameters())
    rsyn = snn.RSynaptic(alpha=0.9, beta=0.8, linear_features=4)
    spk, syn, mem = rsyn.init_rsynaptic()
    for _ in range(3):
        spk, syn, mem = rsyn(torch.rand(2, 4), spk, syn, mem)
    assert spk.shape == (2, 4)


def test_spiking_lstms_step_by_step() -> None:
    slstm = snn.SLSTM(6, 4, spike_grad=surrogate.straight_through_estimator())
    syn, mem = slstm.init_slstm()
    for _ in range(5):
        spk, syn, mem = slstm(torch.rand(2, 6), syn, mem)
    assert spk.shape == syn.shape == (2, 4)
    conv = snn.SConv2dLSTM(1, 8, 3, max_pool=2, spike_grad=surrogate.straight_through_estimator())
    syn, mem = conv.init_sconv2dlstm()
    for _ in range(5):
        spk, syn, mem = conv(torch.rand(2, 1, 12, 12), syn, mem)
    assert spk.shape == (2, 8, 6, 6) and mem.shape == (2, 8, 12, 12)


def test_leaky_parallel_takes_the_whole_sequence() -> None:
    lif1 = snn.LeakyParallel(input_size=12, hidden_size=8, beta=0.9)
    lif2 = snn.LeakyParallel(input_size=8, hidden_size=3, beta=0.9, learn_beta=True)
    assert lif2(lif1(torch.rand(STEPS, 2, 12))).shape == (STEPS, 2, 3)


def test_decays_and_thresholds_can_be_learned_per_layer_or_per_neuron() -> None:
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 30),
        snn.Leaky(beta=torch.rand(30), learn_beta=True, init_hidden=True),
        nn.Linear(30, 10),
        snn.Leaky(beta=0.5, learn_beta=True, learn_threshold=True, init_hidden=True, output=True),
    )
    for _ in range(5):
        spk_out, mem_out = net(torch.rand(4, 1, 28, 28) * 4)
    (spk_out.sum() + mem_out.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_surrogates_as_documented() -> None:
    def custom_fast_sigmoid(input_, grad_input, spikes):
        return grad_input / (25 * torch.abs(input_) + 1.0) ** 2

    gradients = []
    for spike_grad in (
        surrogate.fast_sigmoid(),
        surrogate.FastSigmoid.apply,
        surrogate.fast_sigmoid(slope=25),
        surrogate.custom_surrogate(custom_fast_sigmoid),
    ):
        x = torch.linspace(0, 2, 9).requires_grad_()
        spk, _ = snn.Leaky(beta=0.9, spike_grad=spike_grad)(x, torch.zeros(9))
        spk.sum().backward()
        gradients.append(x.grad)
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0])
    lif = snn.Leaky(beta=0.9, inhibition=True)
    spk, _ = lif(torch.rand(3, 5) + 1, lif.init_leaky())
    assert np.array_equal(spk.sum(1).numpy(), np.ones(3))
