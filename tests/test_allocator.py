"""The allocator's tuning, in processes of their own because it cannot be undone."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from spikeloom.core import allocator

FAULTS = """
import resource, torch, spikeloom as snn
from spikeloom.core.allocator import in_large_pages
way = {way!r}
if way == "tuned":
    snn.tune_cpu_allocator()
place = in_large_pages if way == "large" else lambda fresh: fresh
work = lambda: place(torch.empty(16 * 2**20)).fill_(1.0)  # 64 MiB
for _ in range(12):  # until the heap has a hole of the right size
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def faults(way: str) -> int:
    command = [sys.executable, "-c", FAULTS.format(way=way)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_tuned_process_touches_the_pages_of_a_large_tensor_once() -> None:
    assert faults("tuned") < 0.1 * faults("plain")


@pytest.mark.slow
@pytest.mark.skipif(not PAGES.exists() or "[never]" in PAGES.read_text(), reason="the system has no large pages")
def test_a_large_tensor_in_large_pages_is_touched_a_few_times() -> None:
    assert faults("large") < 0.1 * faults("plain")


def test_small_and_foreign_tensors_are_left_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(allocator, "_madvise", lambda: lambda *call: calls.append(call))
    small, meta = torch.empty(100), torch.empty(2**22, device="meta")
    assert allocator.in_large_pages(small) is small
    assert allocator.in_large_pages(meta) is meta
    assert not calls
    large = allocator.in_large_pages(torch.empty(2**21))
    (start, size, _), end = calls[0], large.data_ptr() + 2**23
    assert start % 4096 == 0
    assert large.data_ptr() <= start < start + size <= end


def test_another_c_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    with pytest.raises(RuntimeError, match="sets options of glibc"):
        allocator.tune_cpu_allocator()
