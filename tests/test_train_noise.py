"""Training of networks with generators of their own: who draws, and what a resume restores."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training import Interruption, leave_out_pictures

import spikeloom as snn
from spikeloom.train import Interrupted, checkpoint

X = torch.rand(24, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(24) % 2
QUIET: dict[str, Any] = {
    "encode": "sequence",
    "progress": False,
    "batch_size": 8,
    "epochs": 2,
    "schedule": "constant",
}


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_pictures(monkeypatch)


class Jitter(nn.Module):
    """A layer of a user with a generator as attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.source = torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=self.source, dtype=x.dtype)


def network(*, current: float = 0.4, seed: int = 7) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(3, 8),
        Jitter(),
        snn.Leaky(0.8, threshold=0.5, init_hidden=True),
        nn.Linear(8, 2),
        snn.Leaky(0.8, threshold=0.4, init_hidden=True, output=True),
    ).double()
    generator = torch.Generator().manual_seed(seed)
    return snn.noisy(net, current=current, escape=0.1, generator=generator)


def trained(net: nn.Module, **options: Any) -> list[Tensor]:
    snn.fit(net, (X, Y, X, Y), **{**QUIET, **options})
    return list(net.parameters())


def same(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("after", [1, 3, 4])
def test_a_resumed_run_drew_other_noise_from_generators_of_the_network(
    after: int, tmp_path: Path
) -> None:
    whole = trained(network(), loss=Interruption(None))
    with pytest.raises(Interrupted):
        trained(network(), out=tmp_path, loss=Interruption(after))
    net = network()
    net[1].source.manual_seed(99)  # pyright: ignore; a new process may have drawn from it
    assert same(whole, trained(net, out=tmp_path, resume=True, loss=Interruption(None)))


def test_what_is_looked_at_while_training_took_random_numbers_of_the_network() -> None:
    plain = trained(network(), check=False)
    assert same(plain, trained(network(), check=True))
    assert same(plain, trained(network(), validation=0.25)) is False  # other samples train
    more = (torch.cat([X, X]), torch.cat([Y, Y]))
    net = network()
    snn.fit(net, (X, Y, *more), **{**QUIET, "check": False})
    assert same(plain, list(net.parameters()))


@pytest.mark.parametrize("look", ["evaluate", "predict", "time control", "doctor"])
def test_a_look_at_a_network_leaves_its_generators_as_they_were(look: str) -> None:
    net = network()
    result = snn.fit(net, (X, Y, X, Y), **QUIET)
    sources = [net[1].source, net[2].noise.generator]  # pyright: ignore
    before = [source.get_state() for source in sources]  # pyright: ignore
    looks = {
        "evaluate": lambda: snn.evaluate(net, (X, Y), encode="sequence").loss,
        "predict": lambda: result.scores(X).sum().item(),
        "time control": lambda: snn.train.time_control(net, (X, Y, X, Y)).accuracy,
        "doctor": lambda: str(snn.doctor.check(net, (X.transpose(0, 1), Y))),
    }
    one, two = looks[look](), looks[look]()
    assert one == two
    for source, state in zip(sources, before, strict=True):
        assert torch.equal(source.get_state(), state)  # pyright: ignore


def test_a_run_with_other_noise_is_not_resumed(tmp_path: Path) -> None:
    trained(network(), out=tmp_path)
    with pytest.raises(ValueError, match=r"network was .*current=0\.4.*current=0\.5"):
        trained(network(current=0.5), out=tmp_path, resume=True, epochs=3)


def test_a_checkpoint_without_the_states_of_the_generators_is_refused(tmp_path: Path) -> None:
    trained(network(), out=tmp_path)
    path = next(tmp_path.glob("checkpoint*"))
    state = checkpoint.load(path)
    for moment in ("epoch", "now"):
        del state["random"][moment]["net.1"]
    checkpoint.save(path, state)
    with pytest.raises(ValueError, match=r"random\.epoch\.net\.1.* a generator of net, is missing"):
        trained(network(), out=tmp_path, resume=True, epochs=3)
    state["random"]["epoch"]["net.1"] = state["random"]["now"]["net.1"] = torch.zeros(3)
    checkpoint.save(path, state)
    with pytest.raises(ValueError, match=r"net\.1 is no state of a random number generator"):
        trained(network(), out=tmp_path, resume=True, epochs=3)
