"""Blocks of a loop on several threads."""

import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest
import torch

from spikeloom.kernels import threads

pytestmark = pytest.mark.usefixtures("two_threads")


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(threads, "PARALLEL", 0)


@pytest.fixture(params=["of torch", "of Python"])
def team(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "of Python":
        monkeypatch.setattr(threads, "_team", lambda: None)
    elif threads._team() is None:
        pytest.skip("torch brings no OpenMP library that can be called")
    return request.param


def test_every_block_runs_once(team: str) -> None:
    done: list[tuple[int, int]] = []
    threads.sweep(lambda start, stop: done.append((start, stop)), 1003, 1.0, 100)
    assert sorted(done) == [(k, min(k + 100, 1003)) for k in range(0, 1003, 100)]


@pytest.mark.parametrize("kind", [ValueError, IndexError, StopIteration, KeyboardInterrupt])
def test_an_error_on_another_thread_reaches_the_caller(team: str, kind: type) -> None:
    def fails(start: int, stop: int) -> None:
        if start == 600:
            raise kind("block 600")

    with pytest.raises(kind, match="block 600"):
        threads.sweep(fails, 1000, 1.0, 100)
    threads.sweep(lambda start, stop: None, 1000, 1.0, 100)


def test_an_error_of_a_block_kept_its_tensors_until_garbage_was_collected(team: str) -> None:
    class Memory:
        pass

    kept: list[weakref.ref[Memory]] = []

    def fails(start: int, stop: int) -> None:
        memory = Memory()
        kept.append(weakref.ref(memory))
        raise ValueError(f"block {start}")

    gc.disable()
    try:
        with pytest.raises(ValueError, match="block"):
            threads.sweep(fails, 1000, 1.0, 100)
        assert kept and not any(one() for one in kept)
    finally:
        gc.enable()


def test_two_threads_of_the_caller_do_not_mix_their_blocks(team: str) -> None:
    found: dict[int, list[int]] = {0: [], 1: []}

    def one(key: int) -> None:
        for _ in range(20):
            threads.sweep(lambda start, stop: found[key].append(stop - start), 500, 1.0, 10)

    callers = [threading.Thread(target=one, args=(key,)) for key in found]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sum(found[0]) == sum(found[1]) == 10_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_a_fork_uses_threads_of_its_own() -> None:
    script = """
import os, torch
from spikeloom.kernels import threads
torch.set_num_threads(2)
threads.PARALLEL = 0
def work():
    done = []
    threads.sweep(lambda start, stop: done.append(start), 1000, 1.0, 10)
    return len(done)
assert work() == 100
child = os.fork()
if not child:
    os._exit(work())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=600
    )
    assert done.stdout.strip() == "100", done.stderr
