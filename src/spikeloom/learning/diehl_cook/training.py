"""The fast path: train, name and ask the network at once."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...core import checks
from . import batched, event, voting
from .constants import Constants
from .course import Block, course, seeds
from .images import flat

__all__ = ["ENGINES", "Row", "Training"]

ENGINES = ("auto", "event", "batched")
BATCH = 16  # of the batched engine, by default


class Row(NamedTuple):
    """Progress of a training.

    >>> Row(1000, 8.5, 0.0, 0.8).accuracy
    0.8
    """

    images: int  # presented so far
    spikes: float  # of all excitatory neurons for one image, the mean since the row before
    silent: float  # share of images without a spike since then
    # of these images, by names from the responses to the ones before; NaN without labels or names
    accuracy: float


class Way(NamedTuple):
    """How images are presented."""

    engine: Any  # a module with ``show``
    batch: int
    chunk: int | None


class Training:
    """Mixin of `DiehlAndCook2015`: what presents many images."""

    inputs: int
    neurons: int
    constants: Constants
    naming: voting.Naming | None
    recent: voting.Naming | None  # names by the responses to the last block of a training
    xe: Any
    training: bool
    init_param: Callable[[], None]

    def way(self, engine: str = "auto", batch: int | None = None, chunk: int | None = None) -> Way:
        """The engine for a call, by name or automatically, with its batch and chunk.

        ``"auto"`` is the event-driven engine where it applies, unless a batch or chunk other than
        1 is given.

        Raises:
            ValueError: an unknown engine, a batch or chunk below 1, or one that the engine does not
                have.
            RuntimeError: ``engine="event"`` does not serve this network.
        """
        checks.choice("engine", engine, ENGINES)
        for name, value in (("batch", batch), ("chunk", chunk)):
            if value is not None:
                checks.in_range(name, value, 1, float("inf"), why="it is a number")
        online = batch in (None, 1) and chunk in (None, 1)
        refusal = event.refusal(self)
        if engine == "event":
            if not online:
                raise ValueError(
                    'engine="event" presents one image at a time and learns at every spike, got '
                    f"batch={batch}, "
                    f'chunk={chunk}; leave them out, or write engine="batched"'
                )
            if refusal:
                raise RuntimeError(
                    f'engine="event" does not serve this network: {refusal}; write engine="batched"'
                )
        if engine == "event" or (engine == "auto" and online and not refusal):
            return Way(event, 1, 1)
        return Way(batched, batch or BATCH, chunk)

    def fit(
        self,
        x: Tensor,
        epochs: int = 1,
        batch: int | None = None,
        *,
        engine: str = "auto",
        chunk: int | None = None,
        labels: Tensor | None = None,
        every: int = 1000,
        progress: Callable[[Row], None] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Row, ...]:
        """Learn from images, without labels.

        Args:
            x: images, [n, ...], in [0, 1].
            epochs: passes over them, each in a new order.
            batch: images presented at once. Default: 1 for the event-driven engine, 16 for the
                batched one.
            engine: ``"event"``, ``"batched"``, or ``"auto"``, see `way`.
            chunk: of the batched engine: steps after which weights change. Default: at the end of a
                presentation.
            labels: classes of the images, only for the accuracy that is reported.
            every: images from one row of the report to the next.
            progress: called with each row.
            generator: source of randomness; the same state gives the same result. Default: torch's
                global one.

        Returns:
            The rows of the report.

        Raises:
            TypeError: images are no floating-point tensor.
            ValueError: images of another size or outside [0, 1], or a number below 1.
            RuntimeError: the network is in evaluation mode, or ``engine="event"`` does not serve
                it.

        >>> import spikeloom as snn
        >>> x, y, *_ = snn.data.digits(flat=True)
        >>> net = snn.learning.DiehlAndCook2015(
        ...     neurons=20, inputs=64, generator=torch.Generator().manual_seed(0)
        ... )
        >>> rows = net.fit(x[:32], engine="batched", labels=y[:32], every=16)
        >>> [row.images for row in rows]
        [16, 32]
        """
        rows = []
        for row in self.rows(
            x,
            epochs,
            self.way(engine, batch, chunk),
            labels=labels,
            every=every,
            seed=_seed(generator),
        ):
            rows.append(row)
            if progress is not None:
                progress(row)
        return tuple(rows)

    def rows(
        self,
        x: Tensor,
        epochs: int,
        way: Way,
        *,
        labels: Tensor | None,
        every: int,
        seed: int,
        done: int = 0,
    ) -> Iterator[Row]:
        """`fit` as a generator of rows that resumes after ``done`` images; see `course`."""
        images = flat(x, self.inputs, self.xe.weight.device)
        for name, value in (("epochs", epochs), ("every", every)):
            checks.in_range(name, value, 1, float("inf"), why="it is a number")
        if not self.training:
            raise RuntimeError("nothing is learned in evaluation mode; call net.train() first")
        self.init_param()
        block = -(-every // way.batch) * way.batch
        walk = course(
            self,
            images,
            epochs=epochs,
            batch=way.batch,
            engine=way.engine,
            chunk=way.chunk,
            seed=seed,
            block=block,
            done=done,
        )
        if not done:
            self.recent = None
        for found in walk:
            self.naming = None  # what neurons stood for before they learned more
            row, self.recent = _row(found, labels, self.recent)
            yield row

    def responses(
        self,
        x: Tensor,
        *,
        engine: str = "auto",
        batch: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Spikes of each excitatory neuron for each image, [n, N], int32; nothing is learned.

        Args and errors as for `fit`.

        >>> from spikeloom.learning import DiehlAndCook2015
        >>> DiehlAndCook2015(neurons=5, inputs=16).responses(
        ...     torch.zeros(2, 16), engine="batched"
        ... ).sum()
        tensor(0)
        """
        way = self.way(engine, batch)
        images = flat(x, self.inputs, self.xe.weight.device)
        self.init_param()
        return way.engine.show(
            self, images, seeds(_seed(generator), 0, len(images)), False, way.batch, None
        )

    def assign(self, x: Tensor, y: Tensor, **options: Any) -> Tensor:
        """Name each neuron after the class to which it responds most; use training images.

        Args:
            x: images, [n, ...], in [0, 1].
            y: their classes, whole numbers from 0.
            **options: ``engine``, ``batch``, ``generator`` as for `responses`.

        Returns:
            Class of each neuron, [N]; -1 for one that never fired. It is part of ``state_dict``.

        Raises:
            TypeError, ValueError: as for `responses`, or ``y`` does not fit.
        """
        counts = self.responses(x, **options)
        self.naming = voting.named(counts, y)
        return self.naming.labels

    def predict(self, x: Tensor, vote: str = "all", **options: Any) -> Tensor:
        """Class of each image by the votes of the neurons.

        Args:
            x: images, [n, ...], in [0, 1].
            vote: ``"all"``: the class with the highest mean count over its neurons;
                ``"proportion"``: each spike counts for all classes, in the proportions of its
                neuron's responses.
            **options: ``engine``, ``batch``, ``generator`` as for `responses`.

        Returns:
            [n], int64; -1 for an image that no named neuron answered.

        Raises:
            RuntimeError: the neurons have no names, or have learned since they got them.
            TypeError, ValueError: as for `responses`, or an unknown vote.
        """
        checks.choice("vote", vote, voting.VOTES)
        if self.naming is None:
            raise RuntimeError(
                "predict needs names of the neurons; call assign(x_train, y_train) after the "
                "training"
            )
        return voting.votes(self.responses(x, **options), self.naming, vote)


def _row(
    block: Block, labels: Tensor | None, before: voting.Naming | None
) -> tuple[Row, voting.Naming | None]:
    """What a block says, and the names that its responses give."""
    total = block.counts.sum(1).double()
    accuracy = float("nan")
    naming = None
    if labels is not None:
        y = labels[block.index]
        naming = voting.named(block.counts, y)
        if before is not None:
            accuracy = (
                (voting.votes(block.counts, before, "all").cpu() == y.cpu()).double().mean().item()
            )
    return Row(
        block.done, total.mean().item(), (total == 0).double().mean().item(), accuracy
    ), naming


def _seed(generator: torch.Generator | None) -> int:
    return int(torch.randint(2**62, (), generator=generator))
