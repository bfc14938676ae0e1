"""Plots: what is on the axes is what was in the tensor, and nothing else changes."""

import matplotlib
import numpy as np
import pytest
import torch

from spikeloom import spikeplot

matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def global_settings_stay_and_figures_close():
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


def spikes(*shape, p=0.2):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < p).float()


def test_raster_marks_every_spike_at_its_step_and_neuron():
    spk = spikes(30, 7).requires_grad_()
    ax = spikeplot.raster(spk)
    marks = np.asarray(ax.collections[-1].get_offsets())
    assert {tuple(m) for m in marks} == {tuple(m) for m in spk.nonzero().tolist()}


def test_raster_keeps_labels_and_options_of_the_caller():
    _, ax = plt.subplots()
    ax.set_xlabel("mine")
    assert spikeplot.raster(spikes(30), ax, s=4, c="red", marker="o") is ax
    assert ax.get_xlabel() == "mine" and ax.get_ylabel() == "neuron"
    assert ax.collections[-1].get_sizes().tolist() == [4]


def test_raster_shows_neurons_that_never_fire():
    ax = spikeplot.raster(torch.zeros(20, 5))
    assert ax.get_xlim()[1] > 19 and ax.get_ylim()[1] > 4


def test_raster_of_a_batch_says_which_sample_to_select():
    with pytest.raises(ValueError, match=r"one sample of shape \[T, N\], got \(5, 2, 3\); select .*data\[:, 0\]"):
        spikeplot.raster(torch.zeros(5, 2, 3))
    with pytest.raises(TypeError, match=r"torch.stack\(data\)"):
        spikeplot.raster([torch.zeros(3)] * 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool])
def test_every_dtype_can_be_drawn(dtype):
    assert len(spikeplot.raster(torch.eye(4).to(dtype)).collections[0].get_offsets()) == 4


def test_traces_lift_the_state_at_spikes():
    mem, spk = torch.rand(10, 4, requires_grad=True), spikes(10, 4)
    fig = spikeplot.traces(mem, spk, dim=(2, 2), spk_height=3, titles=["a"])
    drawn = np.stack([ax.lines[0].get_ydata() for ax in fig.axes], 1)
    np.testing.assert_array_equal(drawn, (mem + 3 * spk).detach().numpy())
    assert fig.axes[0].get_title() == "a"


def test_traces_leave_panels_without_a_neuron_out():
    assert len(spikeplot.traces(torch.rand(10, 5)).axes) == 5


def test_traces_use_the_current_figure_only_if_it_is_empty():
    empty = plt.figure()
    assert spikeplot.traces(torch.rand(10, 2)) is empty
    assert spikeplot.traces(torch.rand(10, 2)) is not empty


def test_traces_refuse_spikes_of_another_shape():
    with pytest.raises(ValueError, match="spk must have the shape of data"):
        spikeplot.traces(torch.rand(10, 3), torch.rand(10, 2))


HISTORY = {
    "epoch": [1, 2],
    "train_loss": [0.9, 0.5],
    "test_loss": [1.0, 0.6],
    "test_accuracy": [0.5, 0.75],
    "note": "x",
}


def test_loss_curves_sort_names_into_panels():
    fig = spikeplot.loss_curves(HISTORY | {"spike_rate": [0.1, 0.2]}, title="run")
    assert [len(ax.lines) for ax in fig.axes] == [2, 1, 1]
    assert fig.axes[1].lines[0].get_ydata().tolist() == [0.5, 0.75]


def test_loss_curves_read_one_mapping_per_epoch():
    fig = spikeplot.loss_curves([{"train_loss": 0.9}, {"train_loss": 0.5, "test_accuracy": 0.7}])
    assert np.isnan(fig.axes[1].lines[0].get_ydata()[0])


def test_loss_curves_without_any_known_name_say_so():
    with pytest.raises(ValueError, match=r'"loss", "acc" or "rate" in it, got \[\'lr\'\]'):
        spikeplot.loss_curves({"lr": [1.0]})
    with pytest.raises(TypeError, match="a mapping of names to lists"):
        spikeplot.loss_curves([0.5, 0.4])
