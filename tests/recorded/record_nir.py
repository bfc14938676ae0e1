"""Record graphs that snnTorch, Norse and SpikingJelly write, with the spikes of the networks that
they were made from.

Run where the three are installed: ``python tests/recorded/record_nir.py``. It writes ``nir.zip``:
one ``.nir`` file for each network, and ``spikes.npz`` with its input and its output.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import nir
import norse.torch as norse
import numpy as np
import snntorch
import torch
from norse.torch.module.iaf import IAFCell, IAFParameters
from norse.torch.module.leaky_integrator_box import LIBoxCell, LIBoxParameters
from norse.torch.module.lif_box import LIFBoxCell, LIFBoxParameters
from snntorch.export_nir import export_to_nir
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.nir_exchange.to_nir import export_to_nir as spikingjelly_to_nir
from torch import nn

ARCHIVE = Path(__file__).parent / "nir.zip"
N = 6


def main() -> None:
    """Record every network."""
    recorded = {}
    with TemporaryDirectory() as folder, ZipFile(ARCHIVE, "w", ZIP_DEFLATED) as archive:
        for name, (make, shape, export) in NETWORKS.items():
            torch.manual_seed(1)
            net = make()
            x = torch.rand(40, 2, *shape) * 4 - 0.2
            nir.write(Path(folder) / f"{name}.nir", export(net, x[0]))
            archive.write(Path(folder) / f"{name}.nir", f"{name}.nir")
            functional.reset_net(net)
            for module in net.modules():
                getattr(module, "reset_mem", lambda: None)()
            recorded[f"{name}.x"], recorded[f"{name}.spk"] = x.numpy(), run(net, x).numpy()
            print(name, recorded[f"{name}.spk"].mean())
        np.savez(Path(folder) / "spikes.npz", **recorded)
        archive.write(Path(folder) / "spikes.npz", "spikes.npz")


def run(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The output over time; a network of Norse takes and returns its state."""
    state, outputs = None, []
    with torch.no_grad():
        for x_t in x:
            out = net(x_t, state) if isinstance(net, norse.SequentialState) else net(x_t)
            spk, state = out if isinstance(net, norse.SequentialState) else (out, None)
            outputs.append(spk)
    return torch.stack(outputs)


def full(value: float, *shape: int) -> torch.Tensor:
    return torch.full(shape or (N,), value)


def snntorch_graph(net: nn.Module, sample: torch.Tensor) -> Any:
    return export_to_nir(net, sample, ignore_dims=[0])


def conv() -> nn.Module:
    spiking = snntorch.Leaky(full(0.9, 2, 3, 3), threshold=full(0.3, 2, 3, 3), init_hidden=True)
    last = snntorch.Leaky(full(0.8, 3), threshold=full(0.3, 3), init_hidden=True)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.AvgPool2d(2),
        spiking,
        nn.Flatten(),
        nn.Linear(18, 3),
        last,
    )


def norse_net() -> nn.Module:
    lif = LIFBoxParameters(tau_mem_inv=full(100.0), v_th=full(0.5), v_leak=full(0.0))
    li = LIBoxParameters(tau_mem_inv=full(100.0, 3), v_leak=full(0.3, 3))
    spiking = [
        nn.Linear(4, N),
        LIFBoxCell(lif),
        nn.Linear(N, N),
        IAFCell(IAFParameters(v_th=full(1.0)), dt=1e-3),
    ]
    return norse.SequentialState(*spiking, nn.Linear(N, 3), LIBoxCell(li))


def spikingjelly_net() -> nn.Module:
    first = [
        layer.Conv2d(1, 2, 3),
        neuron.LIFNode(tau=3.0, v_threshold=0.3, v_reset=-0.1),
        layer.AvgPool2d(2),
    ]
    second = [layer.Flatten(), layer.Linear(8, N), neuron.CUBALIFNode(v_threshold=0.3)]
    return nn.Sequential(*first, *second, layer.Linear(N, 3), neuron.IFNode(v_reset=-0.2))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Callable[..., Any]]] = {
    "snntorch_leaky": (
        lambda: nn.Sequential(
            nn.Linear(4, N), snntorch.Leaky(full(0.9), threshold=full(0.8), init_hidden=True)
        ),
        (4,),
        snntorch_graph,
    ),
    "snntorch_synaptic": (
        lambda: nn.Sequential(
            nn.Linear(4, N),
            snntorch.Synaptic(full(0.7), full(0.9), threshold=full(1.0), init_hidden=True),
        ),
        (4,),
        snntorch_graph,
    ),
    "snntorch_rleaky": (
        lambda: nn.Sequential(
            nn.Linear(4, N), snntorch.RLeaky(0.9, linear_features=N, init_hidden=True)
        ),
        (4,),
        snntorch_graph,
    ),
    "snntorch_conv": (conv, (1, 6, 6), snntorch_graph),
    "norse": (norse_net, (4,), norse.to_nir),
    "spikingjelly": (spikingjelly_net, (1, 6, 6), spikingjelly_to_nir),
}

if __name__ == "__main__":
    main()
