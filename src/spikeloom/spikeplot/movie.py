"""Animations, and a camera that records a figure drawn repeatedly.

GIF and `to_jshtml` need nothing but matplotlib. Video (mp4) needs ffmpeg: the program of the
system, or that of the package imageio-ffmpeg. matplotlib stops an animation that is garbage
collected: assign it to a variable until it is shown or saved.
"""

import functools
import importlib.metadata
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..core.checks import require
from ..core.style import array

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Camera", "animator"]

PICTURES = {".gif", ".webp", ".apng"}  # written by Pillow


def ffmpeg() -> AbstractContextManager[Any]:
    """Settings under which matplotlib finds ffmpeg.

    Raises:
        ImportError: there is none; the message names the package that contains it.
    """
    matplotlib = require("matplotlib", extra="viz", purpose="animation")
    animation = require("matplotlib.animation", extra="viz", purpose="animation")
    if animation.writers.is_available("ffmpeg"):
        return nullcontext()
    try:
        files = importlib.metadata.files("imageio-ffmpeg") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    programs = [str(file.locate()) for file in files if file.name.startswith("ffmpeg-")]
    if not programs:
        raise ImportError(
            "a video needs ffmpeg, which was not found; write: pip install imageio-ffmpeg, or "
            "avoid it with anim.save('name.gif') or anim.to_jshtml()"
        )
    return matplotlib.rc_context({"animation.ffmpeg_path": programs[0]})


@functools.cache
def movie_class() -> Any:
    """matplotlib's FuncAnimation with a writer that fits the file name."""
    animation = require("matplotlib.animation", extra="viz", purpose="animation")

    class Movie(animation.FuncAnimation):
        def save(
            self, filename: "str | PathLike[str]", writer: Any = None, *args: Any, **kwargs: Any
        ) -> None:
            if writer is None:
                writer = "pillow" if Path(filename).suffix.lower() in PICTURES else "ffmpeg"
            with ffmpeg() if writer == "ffmpeg" else nullcontext():
                super().save(str(filename), writer, *args, **kwargs)

        def to_html5_video(self, embed_limit: float | None = None) -> str:
            with ffmpeg():
                return super().to_html5_video(embed_limit)

    return Movie


def movie(
    fig: "Figure",
    draw: Callable[[int], Iterable["Artist"]],
    frames: int,
    interval: float,
    **kwargs: Any,
) -> Any:
    """An animation that calls ``draw(frame)`` for each frame, ``interval`` ms apart."""
    return movie_class()(
        fig, draw, frames=frames, interval=interval, cache_frame_data=False, **kwargs
    )


def steps_to_show(num_steps: int | bool, recorded: int) -> int:
    """Number of steps to show, at most the number of recorded steps."""
    if num_steps is False or num_steps is None:
        return recorded
    if num_steps is True or not 0 < num_steps <= recorded:
        raise ValueError(
            f"num_steps must be in [1, {recorded}], the number of recorded steps, got {num_steps!r}"
        )
    return num_steps


def animator(
    data: Tensor,
    fig: "Figure",
    ax: "Axes",
    num_steps: int | bool = False,
    interval: float = 40,
    cmap: str = "plasma",
) -> "FuncAnimation":
    """Animates the images of one sample.

    Args:
        data: one sample, [T, H, W] or, in colour, [T, H, W, 3].
        fig: the figure of ``ax``.
        ax: where to draw; its frame is hidden.
        num_steps: number of steps to show. Default: all.
        interval: time between frames in ms.
        cmap: matplotlib's name of a colour map, which spans the values of ``data``.

    Returns:
        The animation: ``HTML(anim.to_jshtml())`` in a notebook, ``anim.save("spikes.gif")`` for a
            file.

    Raises:
        ValueError: ``data`` holds a batch or channels, or fewer than ``num_steps`` steps.

    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> fig = Figure()
    >>> anim = animator(torch.rand(3, 8, 8), fig, fig.subplots())
    >>> anim.save("spikes.gif")
    """
    values = array(data, "data")
    if values.ndim != 3 and not (values.ndim == 4 and values.shape[-1] == 3):
        raise ValueError(
            f"data must be one sample of images of shape [T, H, W], got {values.shape}; select "
            "sample 0 and channel 0 with data[:, 0, 0], and give a vector the shape of an image"
        )
    frames = steps_to_show(num_steps, len(values))
    image = ax.imshow(values[0], cmap=cmap, vmin=float(values.min()), vmax=float(values.max()))
    ax.axis("off")

    def draw(step: int) -> list["Artist"]:
        image.set_data(values[step])
        return [image]

    return movie(fig, draw, frames, interval)


class Camera:
    """Records a figure that is drawn repeatedly as an animation.

    Draw, `snap`, draw the next frame, `snap`, ..., `animate`. Each frame shows the artists added
    since the previous frame, and the titles at that moment.

    Args:
        figure: the figure to draw on; axes may be added later.

    >>> from matplotlib.figure import Figure
    >>> fig = Figure()
    >>> ax, camera = fig.subplots(), Camera(fig)
    >>> for height in range(3):
    ...     line = ax.plot([0, height])
    ...     frame = camera.snap()
    >>> camera.animate(interval=100).save("line.gif")
    """

    def __init__(self, figure: "Figure") -> None:
        self._figure = figure
        self._frames: list[list[Artist]] = []
        self._titles: list[dict[Any, str]] = []
        self._seen: set[Artist] = set()

    def snap(self) -> list["Artist"]:
        """Records and returns the artists drawn since the last call as the next frame."""
        for ax in self._figure.axes:
            legend = ax.get_legend()
            if legend is not None and legend not in self._seen:
                ax.add_artist(legend)  # the next legend of these axes would drop it
        shown = [artist for artist in drawn(self._figure) if artist not in self._seen]
        self._seen.update(shown)
        self._frames.append(shown)
        self._titles.append({ax: ax.get_title() for ax in self._figure.axes})
        return shown

    def animate(self, interval: float = 200, **kwargs: Any) -> "FuncAnimation":
        """Animates the frames recorded so far.

        Args:
            interval: time between frames in ms.
            kwargs: passed to ``matplotlib.animation.FuncAnimation``: ``repeat``, ``repeat_delay``,
                ``blit``.

        Raises:
            ValueError: no frame was recorded.
        """
        if not self._frames:
            raise ValueError(
                "an animation must have at least one frame, got none; call camera.snap() after "
                "drawing"
            )
        frames = list(self._frames)
        titles = list(self._titles)

        def draw(index: int) -> Sequence["Artist"]:
            for number, frame in enumerate(frames):
                for artist in frame:
                    artist.set_visible(number == index)
            for ax, title in titles[index].items():
                ax.set_title(title)
            return frames[index]

        return movie(self._figure, draw, len(frames), interval, **kwargs)


def drawn(figure: "Figure") -> list["Artist"]:
    """The artists of a figure except axes, frames, ticks and titles."""
    kinds = ("collections", "patches", "lines", "texts", "images", "artists", "tables")
    found = [artist for ax in figure.axes for kind in kinds for artist in getattr(ax, kind)]
    return list(
        dict.fromkeys([*found, *figure.texts, *figure.lines, *figure.patches, *figure.images])
    )
