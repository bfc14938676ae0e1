"""Neurons of papers beside Brian2: the same current, spike by spike.

    pip install brian2  # below Python 3.12: pip install "brian2==2.9" "numpy<2.4"
    python benchmarks/fidelity.py [--seconds 10] [--only lif hh] [--smoke]

Ten neurons of each model receive ten noisy currents in float64, at 0.1 ms. Where both simulators
have the same integration scheme the spikes are the same; other rows show what a scheme or its step
changes. Brian2 runs its numpy code. Without Brian2 the script says so and ends.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from common import asked, options, report
from torch import Tensor
from torch.nn.functional import max_pool1d

import spikeloom as snn
from spikeloom.core import checks
from spikeloom.core.options import arguments

DT = 0.1  # ms
CELLS = 10


class Model(NamedTuple):
    """A neuron of both simulators.

    Args:
        neuron: makes ours.
        current: mean and standard deviation of the input, in its unit.
        equations: Brian2's, with the membrane ``v`` and the input ``I``, times in ms.
        threshold: its condition of a spike.
        reset: its statements after a spike.
        start: values of its variables at the beginning.
        method: its integration scheme.
        program: statements that Brian2 runs at every step instead of integrating.
        refractory: its refractory period, in steps or as a condition.
        gain: factor of our input.
        fine: steps of Brian2 in one of ours.
        same: whether the schemes are the same.
        note: what differs, or why nothing does.
    """

    neuron: Callable[[], Any]
    current: tuple[float, float]
    equations: str
    threshold: str
    reset: str
    start: dict[str, float]
    method: str = "euler"
    program: str = ""
    refractory: Any = 0
    gain: float = 1.0
    fine: int = 1
    same: bool = True
    note: str = "same scheme: Euler"


def exact(kind: type, **values: Any) -> Any:
    """A neuron whose constants are float64, also those that float32 does not hold."""
    given = {k: v for k, v in arguments(kind).items() if type(v) is float} | values
    numbers: dict[str, Any] = {
        k: torch.tensor(v, dtype=torch.float64) if type(v) is float else v for k, v in given.items()
    }
    return kind(**numbers, mode="sequence").double()


def lif() -> Any:
    return exact(
        snn.Leaky, beta=math.exp(-DT / 10), reset_mechanism="zero", reset_delay=False, threshold=1.0
    )


def glif() -> Any:
    return exact(snn.GLIF, dt=DT, refractory_steps=20)


def decayed(rate: float) -> float:
    """The rate, per ms, with which a step of Euler's method decays as the exponential does."""
    return -math.expm1(-rate * DT) / DT


IZHIKEVICH = """
    v : 1
    u : 1
"""
HALF = "v += 0.5 * {dt} * (0.04 * v ** 2 + 5 * v + 140 - u + I(t, i))\n"
ADEX = """
    dv/dt = (-30 * (v + 70.6) + 60 * exp((v + 50.4) / 2) - w + I(t, i)) / (281 * ms) : 1
    dw/dt = (4 * (v + 70.6) - w) / (144 * ms) : 1
"""
HODGKIN_HUXLEY = """
    dv/dt = (I(t, i) - 120 * m ** 3 * h * (v - 50) - 36 * n ** 4 * (v + 77)
             - 0.3 * (v + 54.387)) / ms : 1
    dm/dt = (am * (1 - m) - bm * m) / ms : 1
    dh/dt = (ah * (1 - h) - bh * h) / ms : 1
    dn/dt = (an * (1 - n) - bn * n) / ms : 1
    am = 1 / exprel(-(v + 40) / 10) : 1
    bm = 4 * exp(-(v + 65) / 18) : 1
    ah = 0.07 * exp(-(v + 65) / 20) : 1
    bh = 1 / (1 + exp(-(v + 35) / 10)) : 1
    an = 0.1 / exprel(-(v + 55) / 10) : 1
    bn = 0.125 * exp(-(v + 65) / 80) : 1
"""
GATES = {"m": 0.05293248525724958, "h": 0.5961207535084603, "n": 0.3176769140606974}
GLIF = f"""
    dv/dt = (I(t, i) + a1 + a2 - 5 * v) / (100 * ms) : 1 (unless refractory)
    da1/dt = -{decayed(0.03)!r} * a1 / ms : 1
    da2/dt = -{decayed(0.1)!r} * a2 / ms : 1
    ds/dt = -{decayed(0.02)!r} * s / ms : 1
    dr/dt = (0.005 * v - 0.02 * r) / ms : 1 (unless refractory)
"""

MODELS = {
    "lif": Model(
        lif,
        (1.05, 0.4),
        "dv/dt = (I(t, i) - v) / (10 * ms) : 1",
        "v > 1",
        "v = 0",
        {"v": 0.0},
        method="exact",
        gain=-math.expm1(-DT / 10),
        note="same scheme: exact exponential",
    ),
    "qif": Model(
        lambda: exact(snn.QIF, dt=DT),
        (0.4, 0.3),
        "dv/dt = (v * (v - 1) + I(t, i)) / (10 * ms) : 1",
        "v > 5",
        "v = 0",
        {"v": 0.0},
    ),
    "eif": Model(
        lambda: exact(snn.EIF, dt=DT),
        (2.0, 3.0),
        "dv/dt = (-65 - v + 3.48 * exp((v + 59.9) / 3.48) + I(t, i)) / (10 * ms) : 1",
        "v > 20",
        "v = -68",
        {"v": -65.0},
    ),
    "adex": Model(
        lambda: exact(snn.AdEx, dt=DT),
        (700.0, 500.0),
        ADEX,
        "v > 20",
        "v = -70.6; w += 80.5",
        {"v": -70.6, "w": 0.0},
    ),
    "izhikevich": Model(
        lambda: exact(snn.Izhikevich, dt=DT),
        (6.0, 6.0),
        IZHIKEVICH,
        "v > 30",
        "v = -65; u += 8",
        {"v": -65.0, "u": -13.0},
        program=2 * HALF.format(dt=DT) + f"u += {DT} * 0.02 * (0.2 * v - u)",
        note="same scheme: the published program, two half steps for v",
    ),
    "izhikevich, euler": Model(
        lambda: exact(snn.Izhikevich, dt=DT),
        (6.0, 6.0),
        """
            dv/dt = (0.04 * v ** 2 + 5 * v + 140 - u + I(t, i)) / ms : 1
            du/dt = 0.02 * (0.2 * v - u) / ms : 1
        """,
        "v > 30",
        "v = -65; u += 8",
        {"v": -65.0, "u": -13.0},
        same=False,
        note="ours two half steps for v, then u; Brian2 one step for both",
    ),
    "glif": Model(
        glif,
        (130.0, 60.0),
        GLIF,
        "v > 20 + s + r",
        "v = 0.3 * v - 2; a1 -= 20; a2 -= 10; s += 3",
        {"v": 0.0, "a1": 0.0, "a2": 0.0, "s": 0.0, "r": 0.0},
        refractory=21,  # Brian2 counts the step of the spike
        note="level 5; same scheme: Euler, exact decays",
    ),
    "hh": Model(
        lambda: exact(snn.HodgkinHuxley, dt=DT),
        (8.0, 5.0),
        HODGKIN_HUXLEY,
        "v > 20",
        "",
        {"v": -65.0, **GATES},
        method="exponential_euler",
        refractory="v > 20",
        note="same scheme: exponential Euler",
    ),
}
for name, scheme in (("adex", "Euler"), ("hh", "exponential Euler")):
    MODELS[f"{name}, finer"] = MODELS[name]._replace(
        fine=10,
        same=False,
        note=f"{scheme}; Brian2 in steps of 0.01 ms; a coarse step lags at the upstroke",
    )


def current(model: Model, steps: int) -> Tensor:
    """Noise that is correlated over 5 ms, [T, CELLS], in float64."""
    mean, deviation = model.current
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(steps, CELLS, generator=generator, dtype=torch.float64)
    left = math.exp(-DT / 5)
    found = [white[0]]
    for value in white[1:]:
        found.append(left * found[-1] + math.sqrt(1 - left**2) * value)
    return mean + deviation * torch.stack(found)


def ours(model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and membranes, [T, CELLS]."""
    with torch.no_grad():
        spk, mem, *_ = model.neuron()((model.gain * x).unsqueeze(1))
    return spk.squeeze(1) != 0, mem.squeeze(1)


def brian2s(model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
    """The same of Brian2."""
    import brian2

    brian2.prefs.codegen.target = "numpy"
    brian2.start_scope()
    brian2.defaultclock.dt = DT / model.fine * brian2.ms
    refractory = model.refractory
    if isinstance(refractory, int):
        refractory = refractory * DT * brian2.ms
    group = brian2.NeuronGroup(
        CELLS,
        model.equations,
        threshold=model.threshold,
        reset=model.reset or None,
        refractory=refractory or False,
        method=model.method,
        namespace={"I": brian2.TimedArray(x.numpy(), dt=DT * brian2.ms)},
    )
    for name, value in model.start.items():
        setattr(group, name, value)
    if model.program:
        group.run_regularly(model.program, when="groups")
    # as ours: the membrane after the reset
    states = brian2.StateMonitor(group, "v", record=True, when="end", dt=DT * brian2.ms)
    spikes = brian2.SpikeMonitor(group)
    network = brian2.Network(group, states, spikes, *group.contained_objects)
    network.run(len(x) * DT * brian2.ms)
    fired = torch.zeros(x.shape, dtype=torch.bool)
    fine = (spikes.t / (DT / model.fine * brian2.ms)).round().astype(int)
    steps = torch.as_tensor(fine // model.fine)
    fired[steps, torch.as_tensor(spikes.i[:].astype(int))] = True
    return fired, torch.as_tensor(states.v[:].T.copy())


def near(spk: Tensor, other: Tensor) -> Tensor:
    """Which spikes have one of the other train within 1 ms."""
    reach = round(1 / DT)
    kernel = 2 * reach + 1
    around = max_pool1d(other.double().T.unsqueeze(0), kernel, stride=1, padding=reach)
    return spk & (around.squeeze(0).T > 0)


def compared(name: str, model: Model, steps: int) -> dict[str, Any]:
    """One row; one of finer steps takes as many of them, and is shorter."""
    steps //= model.fine
    x = current(model, steps)
    (spk, mem), (other_spk, other_mem) = ours(model, x), brian2s(model, x)
    differs = (spk != other_spk).any(1).nonzero().flatten()
    first = int(differs[0]) if len(differs) else steps
    apart = float((mem - other_mem)[:first].abs().max()) if first else 0.0
    most = max(int(spk.sum()), int(other_spk.sum()))
    return {
        "model": name,
        "seconds": steps * DT / 1000,
        "spikes, ours": int(spk.sum()),
        "spikes, Brian2": int(other_spk.sum()),
        "same step [%]": 100 * float((spk & other_spk).sum()) / max(1, most),
        "within 1 ms [%]": 100 * float(near(spk, other_spk).sum()) / max(1, most),
        "first difference [ms]": round(first * DT, 1) if len(differs) else None,
        "membrane apart before": None if model.fine > 1 else f"{apart:.1e}",
        "same scheme": model.same,
        "note": model.note,
    }


def main() -> None:
    def more(parser: Any) -> None:
        parser.add_argument("--seconds", type=float, default=10.0, help="of each neuron")
        parser.add_argument("--only", nargs="*", help="parts of the names of the models")

    args = options(__doc__ or "", repeats=1, smoke="0.1 s of three models", more=more)
    if not checks.installed("brian2"):
        print("skipped: Brian2 is not installed; write: pip install brian2")
        return
    only = args.only or (["qif", "adex", "hh"] if args.smoke else None)
    steps = round((0.1 if args.smoke else args.seconds) * 1000 / DT)
    rows = []
    for name, model in MODELS.items():
        if asked(name, only):
            print(f"{name} ...", flush=True)
            rows.append(compared(name, model, steps))
    report(f"{CELLS} neurons, {DT} ms a step, float64", rows)


if __name__ == "__main__":
    main()
