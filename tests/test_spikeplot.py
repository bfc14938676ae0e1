"""Plots: what is on the axes is what was in the tensor, and nothing else changes."""

import importlib.metadata
import itertools

import matplotlib
import numpy as np
import pytest
import torch

from spikeloom import spikeplot
from spikeloom.core import style

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
    with pytest.raises(
        ValueError, match=r"one sample of shape \[T, N\], got \(5, 2, 3\); select .*data\[:, 0\]"
    ):
        spikeplot.raster(torch.zeros(5, 2, 3))
    with pytest.raises(TypeError, match=r"torch.stack\(data\)"):
        spikeplot.raster([torch.zeros(3)] * 5)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool]
)
def test_every_dtype_can_be_drawn(dtype):
    assert len(spikeplot.raster(torch.eye(4).to(dtype)).collections[0].get_offsets()) == 4


def test_traces_hide_the_state_under_its_spikes():
    mem, spk = torch.rand(10, 4, requires_grad=True), spikes(10, 4)
    fig = spikeplot.traces(mem, spk, dim=(2, 2), titles=["a"])
    drawn = np.stack([ax.lines[0].get_ydata() for ax in fig.axes], 1)
    np.testing.assert_array_equal(drawn, mem.detach().numpy())
    low, high = fig.axes[0].get_ylim()
    span = drawn.max() - drawn.min()
    assert low < drawn.min() and high == pytest.approx(drawn.max() + span / 4)
    assert fig.axes[0].get_title() == "a"
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["state", "spike"]


def test_traces_draw_each_spike_from_the_state_upwards():
    mem, spk = torch.rand(10, 2), spikes(10, 2, p=0.4)
    fig = spikeplot.traces(mem, spk, dim=(1, 2), spk_height=0.1)
    for i, ax in enumerate(fig.axes):
        lines = np.array(ax.collections[0].get_segments())  # [spikes, 2, 2]
        steps = spk[:, i].nonzero().flatten().numpy()
        np.testing.assert_array_equal(lines[:, 0, 0], steps)
        np.testing.assert_allclose(lines[:, 0, 1], mem[steps, i])
        np.testing.assert_allclose(lines[:, 1, 1], mem[steps, i] + 0.1, rtol=1e-6)


def test_only_one_panel_of_traces_has_axes():
    fig = spikeplot.traces(torch.rand(10, 5), dim=(2, 3))
    assert all(ax.axison for ax in fig.axes)
    assert [ax.get_xlabel() for ax in fig.axes] == ["", "", "time step", "time step", "time step"]
    assert [ax.get_ylabel() for ax in fig.axes] == ["state", "", "", "state", ""]


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


def frames_of(file):
    with pytest.importorskip("PIL.Image").open(file) as image:
        return [np.asarray((image.seek(i), image.convert("RGB"))[1]) for i in range(image.n_frames)]


def test_animator_shows_each_step_and_writes_gif_and_html(tmp_path):
    fig, ax = plt.subplots(figsize=(2, 2))
    anim = spikeplot.animator(spikes(5, 8, 8).requires_grad_(), fig, ax, num_steps=3)
    anim.save(tmp_path / "spikes.gif")
    pictures = frames_of(tmp_path / "spikes.gif")
    assert len(pictures) == 3 and not np.array_equal(pictures[0], pictures[1])
    assert "<img" in anim.to_jshtml()


def test_animator_refuses_batches_and_too_many_steps():
    fig, ax = plt.subplots()
    with pytest.raises(
        ValueError, match=r"one sample of images of shape \[T, H, W\], got \(5, 2, 1, 8, 8\)"
    ):
        spikeplot.animator(torch.zeros(5, 2, 1, 8, 8), fig, ax)
    with pytest.raises(ValueError, match=r"num_steps must be in \[1, 5\].* got 6"):
        spikeplot.animator(torch.zeros(5, 8, 8), fig, ax, num_steps=6)


def test_video_without_ffmpeg_names_the_package_to_install(tmp_path, monkeypatch):
    import matplotlib.animation

    def absent(_):
        raise importlib.metadata.PackageNotFoundError

    fig, ax = plt.subplots()
    anim = spikeplot.animator(spikes(2, 4, 4), fig, ax)
    monkeypatch.setattr(matplotlib.animation.writers, "is_available", lambda _: False)
    monkeypatch.setattr(importlib.metadata, "files", absent)
    for act in (lambda: anim.save(tmp_path / "a.mp4"), anim.to_html5_video):
        with pytest.raises(
            ImportError,
            match=r"pip install imageio-ffmpeg, or avoid it with anim.save\('name.gif'\)",
        ):
            act()
    anim.save(tmp_path / "a.gif")


def test_camera_shows_in_each_frame_what_was_added_to_it(tmp_path):
    fig, ax = plt.subplots(figsize=(2, 2))
    camera = spikeplot.Camera(fig)
    for i in range(3):
        (line,) = ax.plot([0, i], label=str(i))
        legend = ax.legend(handles=[line])
        ax.set_title(f"frame {i}")
        assert camera.snap() == [line, legend]
    anim = camera.animate(50, blit=True)
    anim.save(tmp_path / "a.gif")
    assert len(frames_of(tmp_path / "a.gif")) == 3
    assert [line.get_visible() for line in ax.lines] == [
        False,
        False,
        True,
    ] and ax.get_title() == "frame 2"


def test_camera_without_a_frame_says_so():
    with pytest.raises(ValueError, match=r"at least one frame, got none; call camera.snap\(\)"):
        spikeplot.Camera(plt.figure()).animate()


def bar_lengths(ax):
    return [segment[1, 0] for segment in ax.collections[0].get_segments()]


def test_spike_count_draws_the_count_of_each_neuron():
    spk, (fig, ax) = spikes(12, 3), plt.subplots()
    assert spikeplot.spike_count(spk, fig, ax, ["a", "b", "c"], num_steps=10, time_step=1e-3) is ax
    assert bar_lengths(ax) == spk[:10].sum(0).tolist()
    (upper,) = ax.child_axes
    fig.canvas.draw()
    assert (ax.get_xlabel(), upper.get_xlabel()) == ("spikes", "time [s]")
    assert ax.get_xlim() == (0, 10) and upper.get_xlim() == pytest.approx((0, 0.01))


def test_spike_count_without_time_has_an_axis_of_time():
    fig, ax = plt.subplots()
    assert not spikeplot.spike_count(spikes(12, 3), fig, ax, ["a", "b", "c"]).child_axes


def test_spike_count_animation_ends_with_all_steps_counted(tmp_path):
    spk, (fig, ax) = spikes(4, 3, p=0.7), plt.subplots(figsize=(2, 2))
    anim = spikeplot.spike_count(spk, fig, ax, ["a", "b", "c"], animate=True, interpolate=2)
    anim.save(tmp_path / "count.gif", dpi=30)
    assert bar_lengths(ax) == spk.sum(0).tolist()
    assert len(frames_of(tmp_path / "count.gif")) == 9


def test_spike_count_needs_a_label_for_each_neuron():
    fig, ax = plt.subplots()
    with pytest.raises(ValueError, match="each of the 3 neurons of data, got 2 labels"):
        spikeplot.spike_count(spikes(4, 3), fig, ax, ["a", "b"])
    with pytest.raises(ValueError, match=r"interpolate must be .* got 0"):
        spikeplot.spike_count(spikes(4, 3), fig, ax, ["a", "b", "c"], interpolate=0)


@pytest.mark.parametrize("shape", [(5, 36), (5, 6, 6), (5, 1, 6, 6)])
def test_weights_show_every_field_once(shape):
    data = torch.randn(shape)
    image = spikeplot.weights(data).images[0]
    grid = np.ma.filled(image.get_array(), np.nan)
    drawn = grid[~np.isnan(grid)]
    assert np.isnan(grid[::7]).all() and np.isnan(grid[:, ::7]).all(), "lines between the fields"
    np.testing.assert_allclose(np.sort(drawn), np.sort(data.flatten().numpy()), rtol=1e-6)
    assert image.get_clim() == (-data.abs().max(), data.abs().max())


def test_weights_without_negative_ones_start_at_zero():
    assert spikeplot.weights(torch.rand(4, 12), shape=(3, 4)).images[0].get_clim()[0] == 0


def test_weights_ask_for_the_shape_of_fields_that_are_no_squares():
    with pytest.raises(
        ValueError, match=r"a field of 12 weights, got \(3, 3\); write weights\(data, shape="
    ):
        spikeplot.weights(torch.rand(4, 12))
    with pytest.raises(ValueError, match=r"select one input channel with data\[:, 0\]"):
        spikeplot.weights(torch.rand(4, 3, 5, 5))


def test_rates_of_padded_recordings_average_over_those_that_have_not_ended():
    spk = torch.zeros(4, 2, 3)
    spk[:, 1] = 1
    spk[2:, 0] = 5  # padding
    line = spikeplot.rates(spk, lengths=[2, 3]).lines[0]
    assert line.get_ydata().tolist() == [0.5, 0.5, 1.0]


def test_rates_average_over_all_but_time_and_keep_the_ends():
    spk = spikes(20, 3, 4)
    raw, smooth = (
        spikeplot.rates(spk).lines[0],
        spikeplot.rates({"a": spk}, window=3, dt=1e-3).lines[0],
    )
    mean = spk.mean((1, 2)).numpy()
    np.testing.assert_allclose(raw.get_ydata(), mean, rtol=1e-6)
    np.testing.assert_allclose(
        smooth.get_ydata()[[0, 1]], 1000 * np.array([mean[:2].mean(), mean[:3].mean()]), rtol=1e-6
    )
    assert smooth.axes.get_ylabel() == "firing rate [Hz]"
    with pytest.raises(ValueError, match="window must be a number of steps, 1 or more, got 0"):
        spikeplot.rates(spk, window=0)


def test_confusion_puts_true_classes_in_rows():
    ax = spikeplot.confusion(
        torch.tensor([1, 1, 1, 0]), torch.tensor([0, 0, 1, 1]), labels=["a", "b", "c"]
    )
    assert ax.images[0].get_array().tolist() == [[0, 1, 0], [0.5, 0.5, 0], [0, 0, 0]]
    assert ax.get_title() == "accuracy 25.0 %" and [t.get_text() for t in ax.get_xticklabels()] == [
        "a",
        "b",
        "c",
    ]


def test_confusion_refuses_spikes_and_unnamed_classes():
    with pytest.raises(ValueError, match=r"classes of shape \[N\].*spk.sum\(0\).argmax\(1\)"):
        spikeplot.confusion(torch.zeros(5, 2, 3), torch.zeros(2))
    with pytest.raises(ValueError, match=r"classes must be in \[0, 1\], got 0 to 2"):
        spikeplot.confusion(torch.tensor([0, 2]), torch.tensor([0, 1]), labels=["a", "b"])


@pytest.mark.cuda
def test_plots_take_tensors_from_the_gpu():
    assert len(spikeplot.raster(torch.eye(4, device="cuda")).collections[0].get_offsets()) == 4


def linear(colour):
    """A colour in linear light, [3]."""
    srgb = np.array(matplotlib.colors.to_rgb(colour))
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(light):
    """Coordinates in CIE L*a*b* of linear light, in which distances are those that are seen."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(light, 0, 1) / np.array([0.9505, 1, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


# What a reader sees who lacks cones; Machado, Oliveira & Fernandes (2009), severity 1.
EYES = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("colours", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_two_colours_of_the_palette_look_the_same_or_fade_into_the_background(colours, eyes):
    seen = [lab(np.array(EYES[eyes]) @ linear(colour)) for colour in colours.palette]
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(distances) > 10  # 2 can be distinguished side by side
    for colour in (*colours.palette, colours.ink, colours.grey):
        light = [linear(c) @ [0.2126, 0.7152, 0.0722] for c in (colour, colours.paper)]
        assert (max(light) + 0.05) / (min(light) + 0.05) > 3  # the least contrast of WCAG 2.1


def test_the_dark_theme_draws_dark_marks_on_a_dark_background():
    with plt.rc_context(spikeplot.theme(dark=True)):
        ax = spikeplot.raster(spikes(20, 5))
        fig = spikeplot.traces(torch.rand(9, 2), spikes(9, 2))
    assert matplotlib.colors.to_hex(ax.figure.get_facecolor()) == style.DARK.paper
    assert matplotlib.colors.to_hex(ax.collections[0].get_facecolors()[0]) == style.DARK.ink
    assert fig.axes[0].lines[0].get_color() == style.DARK.blue
    assert spikeplot.raster(spikes(20, 5)).xaxis.label.get_color() == style.LIGHT.ink


def test_new_figures_are_too_small_to_read():
    figures = [spikeplot.raster(spikes(9, 3)).figure, spikeplot.loss_curves(HISTORY)]
    assert all(fig.dpi == 150 for fig in figures)


def test_the_rate_begins_at_the_smallest_value_so_that_noise_fills_the_panel():
    fig = spikeplot.loss_curves({"spike_rate": [0.068, 0.070]})
    assert fig.axes[0].get_ylim()[0] == 0
