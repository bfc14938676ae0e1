"""Several processes are one training: equal to one process, stopped and resumed, one writes."""

import copy
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import several
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from training import SETTINGS, build, leave_out_pictures, plain, split

import spikeloom as snn
from spikeloom.train import loop, processes
from spikeloom.train.parallel import whole_batch_norm
from spikeloom.train.processes import Share
from spikeloom.train.samples import LoaderBatches, TensorBatches

SCRIPT = Path(several.__file__)

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()), reason="torch lacks gloo"
)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_pictures(monkeypatch)


def launch(number: int, case: str, folder: Path, *words: str) -> list[int]:
    """Start as many processes as torchrun would, and return their exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(number)}
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), case, str(folder), *words],
            env={**os.environ, **together, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(number)
    ]
    try:
        return [process.wait(1500) for process in started]
    finally:
        for process in started:
            process.kill()


def load(folder: Path, rank: int = 0) -> Any:
    return torch.load(folder / f"found-{rank}.pt", weights_only=False)


def distance(a: Any, b: Any) -> float:
    """Largest difference of nested numbers."""
    if isinstance(a, torch.Tensor):
        return (a - b).abs().max().item()
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return max([distance(a[name], b[name]) for name in a], default=0.0)
    if isinstance(a, list):
        assert len(a) == len(b)
        return max([distance(x, y) for x, y in zip(a, b, strict=True)], default=0.0)
    return abs(a - b)


# -- shares ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("number", [1, 2, 4, 9])
def test_a_sample_is_trained_on_twice_or_not_at_all(size, number) -> None:
    parts = [Share(rank, size).of(list(range(number))) for rank in range(size)]
    assert all(part for part, _ in parts), "a process has nothing to run"
    counted = sorted(index for part, count in parts for index in part[:count])
    assert counted == list(range(number))


def test_processes_draw_different_orders() -> None:
    x, y = torch.arange(10.0)[:, None], torch.arange(10)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), 4, True, generator=torch.Generator().manual_seed(3)
    )
    state = loader.generator.get_state()

    def order(rank: int, size: int, skip: int = 0) -> list[list[int]]:
        loader.generator.set_state(state)
        batches = LoaderBatches(loader, "training", here=Share(rank, size)).start(skip)
        return [batch.y[: batch.count].tolist() for batch in batches]

    whole = order(0, 1)
    parts = [order(rank, 3) for rank in range(3)]
    for number, batch in enumerate(whole):
        assert sorted(batch) == sorted(y for part in parts for y in part[number])
    assert order(1, 3, skip=1) == parts[1][1:]
    tensors = [
        TensorBatches(x, y, 4, torch.Generator().manual_seed(0), Share(rank, 2)) for rank in (0, 1)
    ]
    seen = [batch.y.tolist() for part in tensors for batch in part.start()]
    assert sorted(y for part in seen for y in part) == list(range(10))


def test_a_loader_that_is_divided_already_is_divided_again() -> None:
    data = torch.utils.data.TensorDataset(torch.rand(8, 2), torch.zeros(8).long())
    sampler = torch.utils.data.distributed.DistributedSampler(data, 2, 0)
    for loader, text in (
        (torch.utils.data.DataLoader(data, 4, sampler=sampler), "write shuffle=True instead"),
        (torch.utils.data.DataLoader(data, 4, True), r"write generator=torch.Generator\(\)"),
    ):
        with pytest.raises(TypeError, match=text):
            LoaderBatches(loader, "training", here=Share(0, 2))
        LoaderBatches(loader, "training")


def test_an_open_process_group_of_one_changes_the_result(tmp_path) -> None:
    alone = snn.fit(build, split(), **SETTINGS)
    distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        assert snn.fit(build, split(), **SETTINGS).history == alone.history
        assert distributed.is_initialized(), "a group that the caller opened is closed"
    finally:
        distributed.destroy_process_group()


# -- what is refused, and what a rule must do ------------------------------------------------------


def test_a_network_that_is_wrapped_already_fails_in_torchs_words(tmp_path) -> None:
    distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        wrapped = {
            r"got DistributedDataParallel; write net.module": DistributedDataParallel(build()),
            r"got DataParallel; write net.module": nn.DataParallel(build()),
            r"got DataParallel in '0'; write net.module": nn.Sequential(nn.DataParallel(build())),
            r"part of '0.weight' \(fully_shard\); give the network before": fully_shard(
                plain(), mesh=mesh
            ),
            r"got OptimizedModule; leave torch.compile out": torch.compile(build()),
            r"SyncBatchNorm runs on GPUs only, got '1' on a CPU; write nn.BatchNorm1d": (
                nn.SyncBatchNorm.convert_sync_batchnorm(build())
            ),
        }
        for text, net in wrapped.items():
            with pytest.raises(TypeError, match=text):
                snn.fit(net, split(), **SETTINGS)
    finally:
        distributed.destroy_process_group()
    with pytest.raises(TypeError, match=r"one of torch.compile; leave it out"):
        snn.run(torch.compile(build()), torch.rand(2, 6), 3)


def test_a_rule_of_a_user_takes_the_gradient_past_the_sums_of_several_batches() -> None:
    @dataclass(frozen=True)
    class Direct(snn.train.rules.BPTT, name="direct"):
        def learn(self, job: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
            outputs, spikes = job.forward(x)
            loss = job.objective(outputs, y, spikes)
            job.optimizer.zero_grad()
            loss.backward()
            job.optimizer.step()
            return snn.train.rules.Outcome(loss.item(), outputs.detach(), spikes)

    try:
        assert snn.fit(build, split(), rule=Direct(), **SETTINGS).history
        for option in ({"accumulate": 2}, {"precision": "fp16"}):
            with pytest.raises(RuntimeError, match=r"write that instead of loss.backward\(\)"):
                snn.fit(build, split(), rule=Direct(), **option, **SETTINGS)
    finally:
        snn.train.rules.RULES.pop("direct")


def test_batch_norm_over_processes_differs_from_torchs(tmp_path) -> None:
    distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        check_batch_norm()
    finally:
        distributed.destroy_process_group()


def check_batch_norm() -> None:
    x = torch.randn(7, 4, 5, generator=torch.Generator().manual_seed(0)).double() + 3
    for layer in (nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False, momentum=None)):
        ours, theirs = layer.double(), copy.deepcopy(layer).double()
        for value in (x, 2 * x):
            a = value.clone().requires_grad_()
            b = value.clone().requires_grad_()
            with whole_batch_norm(True):
                y = ours(a)
            expected = theirs(b)
            (y**3).sum().backward()
            (expected**3).sum().backward()
            torch.testing.assert_close(y, expected)
            torch.testing.assert_close(a.grad, b.grad)
        for name, value in ours.state_dict().items():
            torch.testing.assert_close(value, theirs.state_dict()[name])
    with whole_batch_norm(True), pytest.raises(ValueError, match=r"write a larger batch_size"):
        nn.BatchNorm1d(4)(torch.zeros(1, 4))


# -- trainings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_the_first_process_did_not_reach_the_others(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "share", lambda: Share(rank, 2))
    monkeypatch.setattr(processes, "_device", lambda: torch.device("cpu"))
    calls: list[int] = []

    def broadcast(sent: list[Any]) -> None:
        """Stands for the collective: the first process keeps what it has, the others receive."""

        def received(said: list[Any], device: torch.device) -> None:
            said[:] = said if rank == 0 else sent

        monkeypatch.setattr(distributed, "broadcast_object_list", received)

    def fails() -> None:
        calls.append(rank)
        raise OSError("disk full")

    broadcast([None, ("OSError", "disk full")])
    kind, text = (OSError, "^disk full$") if rank == 0 else (RuntimeError, "OSError: disk full")
    with pytest.raises(kind, match=text):
        processes.everywhere(fails)
    broadcast([3, None])
    assert processes.everywhere(lambda: 3) == 3
    assert calls == ([0] if rank == 0 else [])


@pytest.mark.parametrize(
    ("own", "reasons", "wanted"),
    [("", ["", ""], ""), ("", ["", "enough"], "enough"), ("late", ["early", "late"], "early")],
)
def test_a_callback_stopped_only_its_own_process(
    own: str, reasons: list[str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "gathered", lambda value: reasons)
    for size, found in ((2, wanted), (1, own)):  # one process gathers nothing
        training: Any = SimpleNamespace(here=Share(0, size), stopped=own)
        loop.Trainer._stop_everywhere(training)
        assert training.stopped == found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is not chaotic")
@pytest.mark.parametrize(
    ("number", "cases"), [(2, several.CASES), (3, ["plain", "update", "batch norm"])]
)
def test_several_processes_train_otherwise_than_one(number, cases, tmp_path) -> None:
    assert launch(number, f"all:{'|'.join(cases)}", tmp_path) == [0] * number
    ranks = [load(tmp_path, rank) for rank in range(number)]
    for case in cases:
        alone = several.found(several.train(case))
        for rank in ranks:
            assert distance(alone, rank[case]) < 1e-6, case
        assert distance(ranks[0][case], ranks[-1][case]) == 0, case


@pytest.mark.slow
@pytest.mark.parametrize(("case", "number"), [("killed", 1), ("killed", 3), ("stopped", 2)])
def test_two_processes_that_end_cannot_go_on_as_another_number(case, number, tmp_path) -> None:
    codes = launch(2, case, tmp_path)
    if case == "stopped":
        assert codes == [0, 0]
        told = [(tmp_path / f"error-{rank}.txt").read_text() for rank in (0, 1)]
        assert all("after 3 of 5 epochs and 4 of 10 batches" in text for text in told)
    else:
        assert codes[0] == codes[1] == -9
    assert (tmp_path / "run" / "checkpoint.pt").exists()
    assert launch(number, case, tmp_path, "resume") == [0] * number
    alone = several.found(several.train("plain"))
    assert distance(alone, load(tmp_path)) < 1e-6


@pytest.mark.slow
def test_every_process_writes_or_an_error_of_the_first_one_lets_the_others_wait(tmp_path) -> None:
    assert launch(2, "logs", tmp_path) == [0, 0]
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert {"checkpoint.pt", "history.csv", "net.safetensors", "run.json"} <= set(names)
    assert len(load(tmp_path, 1)["history"]) == 2, "a callback stops one of two processes"
    refused = tmp_path / "refused"
    refused.mkdir()
    launch(2, "refused", refused)
    told = [(refused / f"error-{rank}.txt").read_text() for rank in (0, 1)]
    assert all("holds a run already" in text for text in told)


@pytest.mark.slow
def test_torchrun_trains_two_networks(tmp_path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words = ["--nproc_per_node=2", str(SCRIPT), "logs", str(tmp_path)]
    subprocess.run([*command, *words], check=True, timeout=1500, capture_output=True)
    assert distance(load(tmp_path, 0), load(tmp_path, 1)) == 0


@pytest.mark.slow
def test_a_thread_of_the_group_is_left_at_the_end_and_may_abort_the_process(tmp_path) -> None:
    assert launch(2, "closed", tmp_path) == [0, 0]
    assert [load(tmp_path, rank) for rank in (0, 1)] == [False, False]
