"""Programs written for snnTorch's documentation run with only the import changed: larger models and
`backprop`.

The autoencoder, the exoplanet network, the model of the accelerator chapter, states passed through
``forward``, and the one-line training of `backprop`; each as documented, on tiny data.
"""

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import spikeloom as snn
import spikeloom.functional as SF
from spikeloom import backprop, surrogate, utils

CLASSES, BATCH = 3, 8


class SAE(nn.Module):
    """Spiking autoencoder: three networks in sequence, all of whose layers keep their own state."""

    def __init__(self, latent_dim: int, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        lif = {"beta": 0.5, "spike_grad": surrogate.atan(alpha=2.0), "init_hidden": True}
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, stride=2),
            nn.BatchNorm2d(4),
            snn.Leaky(**lif, threshold=1),
            nn.Flatten(start_dim=1, end_dim=3),
            nn.Linear(4 * 8 * 8, latent_dim),
            snn.Leaky(**lif, output=True, threshold=1),
        )
        self.linearNet = nn.Sequential(
            nn.Linear(latent_dim, 4 * 8 * 8), snn.Leaky(**lif, output=True, threshold=1)
        )
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (4, 8, 8)),
            snn.Leaky(**lif, threshold=1),
            nn.ConvTranspose2d(4, 1, 3, padding=1, stride=(2, 2), output_padding=1),
            snn.Leaky(**lif, output=True, threshold=20000),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in (self.encoder, self.decoder, self.linearNet):
            utils.reset(part)
        spk_rec = torch.stack([self.encoder(x)[0] for _ in range(self.num_steps)], dim=2)
        spk_mem2 = []
        for step in range(self.num_steps):
            spk_x, _ = self.linearNet(spk_rec[..., step])
            spk_mem2.append(self.decoder(spk_x)[1])
        return torch.stack(spk_mem2, dim=4)[:, :, :, :, -1]


@pytest.mark.slow
def test_autoencoder_reconstructs_from_the_last_membrane() -> None:
    real_img = torch.zeros(6, 1, 16, 16)
    real_img[:, :, 4:12, 4:12] = 1
    network = SAE(latent_dim=16, num_steps=5).train()
    opti = torch.optim.AdamW(network.parameters(), lr=0.01, betas=(0.9, 0.999), weight_decay=0.001)
    losses = []
    for _ in range(30):
        opti.zero_grad()
        x_recon = network(real_img)
        loss_val = F.mse_loss(x_recon, real_img)
        loss_val.backward()
        opti.step()
        losses.append(loss_val.item())
    assert x_recon.shape == real_img.shape
    assert losses[-1] < losses[0] / 2


def test_autoencoder_state_dict_holds_no_state_and_loads_again() -> None:
    network = SAE(latent_dim=16, num_steps=2)
    network(torch.rand(2, 1, 16, 16))
    keys = network.state_dict().keys()
    assert not any(key.endswith(".mem") for key in keys) and "encoder.2.threshold" in keys
    SAE(latent_dim=16, num_steps=2).load_state_dict(network.state_dict())


def test_exoplanet_network_pools_currents_of_the_whole_series() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            spike_grad = surrogate.fast_sigmoid(slope=25)
            self.fc1 = nn.Linear(50, 128)
            self.lif1 = snn.Leaky(beta=0.5, spike_grad=spike_grad)
            self.fc2 = nn.Linear(64, 64)
            self.lif2 = snn.Leaky(beta=0.5, spike_grad=spike_grad)
            self.fc3 = nn.Linear(32, 2)
            self.lif3 = snn.Leaky(beta=0.5, spike_grad=spike_grad)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
            spk1, mem1 = self.lif1(F.max_pool1d(self.fc1(x), 2), mem1)
            spk2, mem2 = self.lif2(F.max_pool1d(self.fc2(spk1), 2), mem2)
            return self.fc3(spk2.view(BATCH, -1))

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    loss = nn.CrossEntropyLoss()(model(torch.randn(BATCH, 50) * 5), torch.arange(BATCH) % 2)
    loss.backward()
    optimizer.step()
    assert model.fc1.weight.grad is not None and model.fc1.weight.grad.abs().sum() > 0


def test_accelerator_model_computes_its_loss_inside() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.lif1 = nn.Linear(20, 30), snn.Leaky(beta=0.9)
            self.fc2, self.lif2 = (
                nn.Linear(30, CLASSES),
                snn.Leaky(beta=0.9, spike_grad=surrogate.fast_sigmoid()),
            )
            self.loss_fn = SF.ce_count_loss()

        def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None):
            mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
            spk2_rec, mem2_rec = [], []
            for _ in range(6):
                spk1, mem1 = self.lif1(self.fc1(x.view(BATCH, -1)), mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                spk2_rec.append(spk2)
                mem2_rec.append(mem2)
            spk2_rec, mem2_rec = torch.stack(spk2_rec), torch.stack(mem2_rec)
            return (spk2_rec, self.loss_fn(mem2_rec, labels)) if self.training else spk2_rec

    net = Model()
    output, loss = net(torch.rand(BATCH, 4, 5), torch.arange(BATCH) % CLASSES)
    loss.backward()
    assert output.shape == (6, BATCH, CLASSES) and net.fc1.weight.grad is not None
    assert isinstance(net.eval()(torch.rand(BATCH, 4, 5)), torch.Tensor)


def test_states_can_travel_through_forward() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = nn.Linear(6, 5)
            self.lif1 = snn.Synaptic(alpha=0.9, beta=0.85, spike_grad=surrogate.fast_sigmoid())
            self.fc2 = nn.Linear(5, CLASSES)
            self.lif2 = snn.Synaptic(
                alpha=0.9, beta=0.85, spike_grad=surrogate.fast_sigmoid(slope=50)
            )

        def forward(self, x, syn1, mem1, spk1, syn2, mem2):
            spk1, syn1, mem1 = self.lif1(self.fc1(x), syn1, mem1)
            spk2, syn2, mem2 = self.lif2(self.fc2(spk1), syn2, mem2)
            return syn1, mem1, spk1, syn2, mem2, spk2

    net = Net()
    (syn1, mem1), (syn2, mem2), spk1 = (
        net.lif1.init_synaptic(),
        net.lif2.init_synaptic(),
        torch.zeros(BATCH, 5),
    )
    for _ in range(4):
        syn1, mem1, spk1, syn2, mem2, spk2 = net(torch.rand(BATCH, 6), syn1, mem1, spk1, syn2, mem2)
    assert spk2.shape == mem2.shape == (BATCH, CLASSES)
    assert len(snn.LIF.instances) >= 2


def columns(*, over_time: int = 0) -> DataLoader:
    """Samples whose class is the bright column; with ``over_time`` sequences, [B, T, ...] as a
    loader stacks them."""
    targets = torch.arange(2 * BATCH) % CLASSES
    data = F.one_hot(targets, CLASSES).float().repeat_interleave(4, dim=1)
    if over_time:
        data = data.unsqueeze(1).repeat(1, over_time, 1)
    return DataLoader(TensorDataset(data, targets), batch_size=BATCH, shuffle=True)


def hidden() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(4 * CLASSES, 20),
        snn.Leaky(beta=0.9, init_hidden=True),
        nn.Linear(20, CLASSES),
        snn.Leaky(beta=0.9, init_hidden=True, output=True),
    )


@pytest.mark.parametrize("name", ["BPTT", "TBPTT", "RTRL"])
@pytest.mark.parametrize(
    "criterion", [SF.mse_count_loss(correct_rate=1.0, incorrect_rate=0.0), SF.mse_membrane_loss()]
)
def test_backprop_trains_an_epoch_in_one_line(name: str, criterion) -> None:
    torch.manual_seed(1)
    net = hidden()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3, betas=(0.9, 0.999))
    extra = {"K": 4} if name == "TBPTT" else {}
    losses = []
    for _ in range(8):
        avg_loss = getattr(backprop, name)(
            net,
            columns(),
            num_steps=8,
            optimizer=optimizer,
            criterion=criterion,
            time_var=False,
            device="cpu",
            **extra,
        )
        losses.append(avg_loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["BPTT", "TBPTT"])
def test_backprop_takes_data_that_vary_in_time(name: str) -> None:
    net = hidden()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = [
        float(
            getattr(backprop, name)(
                net,
                columns(over_time=6),
                optimizer,
                SF.ce_count_loss(),
                time_var=True,
                time_first=False,
            )
        )
        for _ in range(8)
    ]
    assert losses[-1] < losses[0]
