"""What a notebook shows of results."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from training import SETTINGS, plain, split

import spikeloom as snn


def test_a_notebook_shows_fields_and_tensors_instead_of_the_table() -> None:
    net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True))
    found = snn.run(net, torch.rand(5, 4, 3), record=["1.mem"], explain=True)
    assert str(found.plan).splitlines()[1] in found.plan._repr_html_()
    shown = found._repr_html_()
    assert "output: [5, 4, 2]" in shown and "1.mem: [5, 4, 2]" in shown and "tensor(" not in shown
    result = snn.fit(plain, split(), **SETTINGS)
    assert result._repr_html_() == f"<pre>{result}</pre>"
    evaluation = snn.evaluate(result.net, split(), num_steps=5)
    assert evaluation._repr_html_().startswith("<pre>accuracy ")
    report = snn.gradient_report(net, (torch.rand(4, 3), torch.tensor([0, 1, 0, 1])), num_steps=5)
    assert report._repr_html_().startswith("<pre>") and "Tensor" not in report._repr_html_()


def test_the_progress_of_a_notebook_is_a_new_line_for_each_epoch(monkeypatch, capsys) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, value: Any) -> None:
            shown.append(value._repr_html_())

    def display(value: Any, display_id: bool) -> Handle:
        assert display_id and not shown, "a second place in the notebook"
        shown.append(value._repr_html_())
        return Handle()

    ipython = SimpleNamespace(
        get_ipython=lambda: SimpleNamespace(kernel=object()),
        display=SimpleNamespace(display=display),
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    snn.fit(plain, split(), **{**SETTINGS, "progress": True})
    assert capsys.readouterr().err == ""
    assert '<progress value="9" max="9">' in shown[-1] and "<polyline points=" in shown[-1]
    assert "epoch 3: loss " in shown[-1] and "3 spiking neurons" in shown[0]


def test_a_figure_that_ends_a_cell_is_shown_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.close(pyplot.figure())  # matplotlib looks for IPython once
    shell = SimpleNamespace(displayhook=lambda value: None)
    ipython = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    fig = snn.spikeplot.traces(torch.rand(20, 4), dim=(2, 2))
    curves = snn.spikeplot.loss_curves({"train_loss": [0.9, 0.4]})
    try:
        for shown in (fig, curves):
            with pytest.raises(NotImplementedError):  # the end of the cell shows it
                shown._ipython_display_()
            with monkeypatch.context() as cell:
                cell.setattr(sys, "displayhook", shell.displayhook)
                assert shown._ipython_display_() is None
                pyplot.close(shown)
                with pytest.raises(NotImplementedError):  # nothing else would show it
                    shown._ipython_display_()
    finally:
        pyplot.close(fig)
        pyplot.close(curves)
