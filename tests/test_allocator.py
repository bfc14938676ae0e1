"""The allocator's tuning, in processes of their own because it cannot be undone."""

import platform
import subprocess
import sys

import pytest

from spikeloom.core import allocator

FAULTS = """
import resource, torch, spikeloom as snn
if {tuned}:
    snn.tune_cpu_allocator()
work = lambda: torch.empty(16 * 2**20).fill_(1.0)  # 64 MiB
for _ in range(12):  # until the heap has a hole of the right size
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(tuned: bool) -> int:
    command = [sys.executable, "-c", FAULTS.format(tuned=tuned)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_tuned_process_touches_the_pages_of_a_large_tensor_once() -> None:
    assert faults(tuned=True) < 0.1 * faults(tuned=False)


def test_another_c_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    with pytest.raises(RuntimeError, match="sets options of glibc"):
        allocator.tune_cpu_allocator()
