"""Memory of large tensors that is used again."""

import gc
from collections.abc import Iterator

import pytest
import torch

from spikeloom.kernels import pages

SHAPE = (pages.LEAST // 4, 2)


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pages, "_waiting", pages._Waiting())
    yield
    gc.collect()


def test_memory_is_used_again_only_when_nothing_refers_to_it() -> None:
    first = pages.reused(SHAPE, torch.float32)
    place = first.data_ptr()
    view = first[3:]
    other = pages.reused(SHAPE, torch.float32)
    assert other.data_ptr() != place
    del first
    assert pages.reused(SHAPE, torch.float32).data_ptr() != place, "a view still refers to it"
    del view
    assert pages.reused((pages.LEAST,), torch.int16).data_ptr() != place, "of other size"
    found = pages.reused(SHAPE, torch.float32)
    assert found.data_ptr() == place and found.shape == SHAPE and found.dtype == torch.float32


def test_a_tensor_that_autograd_saves_has_its_memory_to_itself() -> None:
    x = torch.ones(SHAPE, requires_grad=True)
    made = pages.reused(SHAPE, torch.float32).fill_(2.0)
    y = (x * made).sum()
    del made
    pages.reused(SHAPE, torch.float32).fill_(5.0)
    y.backward()
    assert x.grad is not None and bool((x.grad == 2.0).all())


def test_waiting_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    size = torch.Size(SHAPE).numel() * 4
    monkeypatch.setattr(pages, "MOST", 2 * size)
    held = [pages.reused(SHAPE, torch.float32) for _ in range(3)]
    held.clear()
    assert sum(memory.numel() for memory in pages._waiting.free) <= 2 * size
    monkeypatch.setattr(pages, "MOST", size - 1)
    held = [pages.reused(SHAPE, torch.float32)]
    held.clear()
    assert not pages._waiting.free


def test_memory_that_inference_mode_made_is_no_inference_tensor_later() -> None:
    with torch.inference_mode():
        pages.reused(SHAPE, torch.float32).fill_(1.0)
    x = torch.ones(SHAPE, requires_grad=True)
    (x * pages.reused(SHAPE, torch.float32).zero_()).sum().backward()


def test_waiting_memory_can_be_given_back() -> None:
    held = [pages.reused(SHAPE, torch.float32)]
    held.clear()
    assert pages._waiting.free
    pages.forget()
    assert not pages._waiting.free
