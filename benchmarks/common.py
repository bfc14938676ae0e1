"""Fair figures: contenders interleaved in one process, CPU time, medians; peak memory in fresh
processes."""

import argparse
import ctypes
import gc
import itertools
import json
import multiprocessing
import platform
import re
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import spikeloom
from spikeloom.kernels import pages

__all__ = [
    "Seeds",
    "alive",
    "asked",
    "each_seed",
    "elsewhere",
    "interleaved",
    "kept",
    "machine",
    "options",
    "peak",
    "ratio",
    "report",
    "rounds",
    "spread",
    "with_compiled",
]

PEERS = ("snntorch", "spikingjelly", "norse", "sinabs")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "spikeloom": spikeloom.__version__,
        **{name: _version(name) for name in ("torch", "triton", "numba", *PEERS, "jax")},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def options(
    description: str, *, repeats: int, smoke: str, more: Callable[..., Any] | None = None
) -> Any:
    """Parse the arguments that all scripts share, and take one thread.

    Args:
        description: the script's docstring; its first line is shown.
        repeats: default of ``--repeats``; a smoke run takes at most 3.
        smoke: what ``--smoke`` does.
        more: adds arguments to the parser.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds that count")
    parser.add_argument("--smoke", action="store_true", help=smoke)
    if more:
        more(parser)
    found = parser.parse_args()
    found.repeats = min(found.repeats, 3) if found.smoke else found.repeats
    torch.set_num_threads(1)
    return found


def with_compiled(parser: argparse.ArgumentParser) -> None:
    """Add ``--compiled`` to the arguments of a script."""
    parser.add_argument(
        "--compiled", action="store_true", help="peers under torch.compile, too (takes minutes)"
    )


def rounds(
    contenders: dict[str, Callable[[], Any]],
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds of each contender in every round, in turns; the first round warms up.

    A turn runs twice and times the second run: in a training loop the same step ran before it,
    not that of another library, which fills the caches of the processor with something else.

    Args:
        contenders: by name.
        repeats: rounds that count.
        clock: processor time, or `time.perf_counter` where several threads work.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(repeats + 1):
        for name, run in contenders.items():
            run()
            start = clock()
            run()
            if round_:
                times[name].append(clock() - start)
    return times


def interleaved(contenders: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each contender, see `rounds`."""
    return {name: statistics.median(found) for name, found in rounds(contenders, repeats).items()}


def ratio(times: list[float], base: list[float]) -> dict[str, Any]:
    """How many times ``base`` is ``times``: of the medians, and the spread over the rounds."""
    each = sorted(a / b for a, b in zip(times, base, strict=True))
    found = statistics.median(times) / statistics.median(base)
    return {"time / ours": found, "spread": f"{each[0]:.2f} to {each[-1]:.2f}"}


def report(title: str, rows: list[dict[str, Any]]) -> None:
    """One table for people and one JSON line for machines."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_cell(row.get(c)) for c in columns] for row in rows]
    widths = [max(len(c), *(len(line[i]) for line in cells)) for i, c in enumerate(columns)]
    print(title)
    for line in [columns, *cells]:
        print("  " + "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    print(json.dumps({"title": title, "machine": machine(), "rows": rows}), flush=True)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


# -- trainings that are not repeated ---------------------------------------------------------------

Seeds = dict[str, list[dict[str, Any]]]  # by row, the result of each finished seed


def kept(path: Path | None) -> Seeds:
    """What an earlier call has finished."""
    return json.loads(path.read_text()) if path and path.exists() else {}


def asked(name: str, texts: list[str] | None) -> bool:
    """Whether a row was asked for; texts are parts of names, None asks for all."""
    return not texts or any(text in name for text in texts)


def each_seed(
    done: Seeds, name: str, number: int, train: Callable[[int], dict[str, Any]], path: Path | None
) -> list[dict[str, Any]]:
    """The results of a row; seeds that are missing are trained, and every finished one is written
    to ``path``."""
    finished = done.setdefault(name, [])
    for seed in range(number):
        if not any(result["seed"] == seed for result in finished):
            print(f"{name}, seed {seed}", flush=True)
            finished.append(train(seed))
            figures = {k: v for k, v in finished[-1].items() if not isinstance(v, (list, dict))}
            print(f"  {figures}", flush=True)
            if path:
                path.write_text(json.dumps(done, indent=1))
    return finished


def spread(name: str, finished: list[dict[str, Any]]) -> None:
    """Print mean and standard deviation of the accuracy."""
    each = [result["accuracy"] for result in finished]
    deviation = statistics.stdev(each) if len(each) > 1 else 0.0
    seconds = statistics.fmean(result["cpu_seconds"] for result in finished)
    print(
        f"{name}: {statistics.fmean(each):.2f} % +- {deviation:.2f}, {seconds:.0f} s of processor "
        "time",
        flush=True,
    )


# -- fresh processes -------------------------------------------------------------------------------


def elsewhere(function: Callable[..., Any], *arguments: Any, tuned: bool = False) -> Any:
    """What ``function`` returns in a fresh process of its own, on one thread.

    Args:
        function: of a module, so that the new process finds it by name.
        *arguments: its arguments.
        tuned: the C library keeps the memory that is freed, instead of returning it to the system.
    """
    context = multiprocessing.get_context(
        "forkserver"
    )  # forks a process that has imported these and done no more
    context.set_forkserver_preload(["torch", "spikeloom"])
    results = context.SimpleQueue()
    process = context.Process(target=_answer, args=(results, tuned, function, arguments))
    process.start()
    while process.is_alive() and results.empty():
        process.join(0.05)
    if results.empty():
        raise RuntimeError(
            f"the process of {function.__name__}{arguments} ended with code {process.exitcode}"
        )
    value = results.get()
    process.join()
    return value


def _answer(
    results: Any, tuned: bool, function: Callable[..., Any], arguments: Iterable[Any]
) -> None:
    torch.set_num_threads(1)
    if tuned:
        libc = ctypes.CDLL(None)  # mallopt(3): M_MMAP_MAX is -4, M_TRIM_THRESHOLD -1
        if not (libc.mallopt(-4, 0) and libc.mallopt(-1, -1)):
            raise RuntimeError("glibc refused to keep freed memory")
    results.put(function(*arguments))


def peak(run: Callable[[], Any]) -> float:
    """What ``run`` adds to the resident memory of this process at its peak, in MiB (Linux, glibc).

    It runs once before, so that libraries and kernels are there; what that left free in the heap
    and in our kernels is handed back to the system, since it would be used again unseen.
    """
    run()
    gc.collect()
    pages.forget()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def alive(run: Callable[[], Any]) -> float:
    """The most that tensors and arrays of ``run`` occupy at a time, in MiB, whatever the allocator
    makes of it.

    Counts what is allocated in ``run``: tensors by torch's profiler, numpy's arrays (events, bits)
    by tracemalloc; the sum of both peaks.
    """
    pages.forget()
    with torch.profiler.profile(profile_memory=True) as profiler:
        run()
    found = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]  # pyright: ignore
    sizes = [e.nbytes() for e in sorted(found, key=lambda e: e.start_ns())]
    run()  # the profiler imports parts of torch that the next run initialises
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    run()
    arrays = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return (max(itertools.accumulate(sizes, initial=0)) + arrays) / 2**20


def _resident(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")
