"""The Diehl & Cook network says what is wrong before it works."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from stdp_networks import INPUTS, N, images, network, small

from spikeloom.learning import DiehlAndCook2015, PowerLaw, Term
from spikeloom.learning.diehl_cook import batched

MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a grey image": (
        lambda: small().fit(255 * images()),
        ValueError,
        r"x must be in \[0, 1\], got .*divide by 255",
    ),
    "a negative one": (lambda: small().responses(-images()), ValueError, r"x must be in \[0, 1\]"),
    "NaN": (
        lambda: small().fit(images() * float("nan")),
        ValueError,
        r"x must be in \[0, 1\], got nan",
    ),
    "integers": (
        lambda: small().fit(torch.zeros(2, INPUTS).long()),
        TypeError,
        "x must be floating point.*x.float()",
    ),
    "a wrong size": (
        lambda: small().fit(torch.zeros(2, 1, 5, 5)),
        ValueError,
        "12 pixels, .*write inputs=25 when you",
    ),
    "one image alone": (
        lambda: small().fit(torch.zeros(INPUTS)),
        ValueError,
        r"got shape \(12,\).*x.unsqueeze\(0\)",
    ),
    "no image": (lambda: small().fit(torch.zeros(0, INPUTS)), ValueError, r"got shape \(0, 12\)"),
    "predict first": (
        lambda: small().predict(images()),
        RuntimeError,
        r"call assign\(x_train, y_train\) after",
    ),
    "a mistyped rule": (
        lambda: small(rule="powerlaw"),
        ValueError,
        "rule must be one of .*did you mean 'power_law'",
    ),
    "no rule": (lambda: small(rule=3), TypeError, "or a rule such as PowerLaw"),
    "a mistyped vote": (
        lambda: small().predict(images(), "al"),
        ValueError,
        "vote must be one of 'all', 'proportion'",
    ),
    "a mistyped engine": (
        lambda: small().fit(images(), engine="events"),
        ValueError,
        "did you mean 'event'",
    ),
    "events in batches": (
        lambda: small().fit(images(), batch=4, engine="event"),
        ValueError,
        'engine="batched"',
    ),
    "a batch of 0": (
        lambda: small().fit(images(), batch=0),
        ValueError,
        r"batch must be in \[1, inf\)?",
    ),
    "no epochs": (lambda: small().fit(images(), 0), ValueError, "epochs must be in"),
    "float labels": (
        lambda: small().assign(images(), torch.zeros(24)),
        TypeError,
        "whole numbers, got torch.float32",
    ),
    "few labels": (
        lambda: small().assign(images(), torch.arange(4)),
        ValueError,
        r"24 samples, got shape \(4,\)",
    ),
    "negative labels": (
        lambda: small().assign(images(), torch.arange(24) - 1),
        ValueError,
        "y must be in",
    ),
    "neurons": (
        lambda: DiehlAndCook2015(neurons=2.5),
        TypeError,
        "whole number, got 2.5; write neurons=100",
    ),
    "no neurons": (lambda: DiehlAndCook2015(neurons=0), ValueError, "neurons must be in"),
    "a rate": (
        lambda: small(rate_max=2000.0),
        ValueError,
        r"rate_max must be in \(0, 1000\], got 2000",
    ),
    "a time": (
        lambda: DiehlAndCook2015(time=0.2),
        ValueError,
        "at least dt=1 ms, got 0.2 ms; write time=250",
    ),
    "a winner": (lambda: small(winner="two"), ValueError, "winner must be one of 'one', 'all'"),
    "inhibition": (lambda: network(inh=-1.0), ValueError, "inh must be in"),
    "no dict": (
        lambda: small().run(torch.zeros(INPUTS)),
        ValueError,
        r"as \{'inp': s_t\}, got Tensor",
    ),
    "a wrong step": (
        lambda: small().run({"inp": torch.zeros(3)}),
        ValueError,
        r"\[12\] or \[B, 12\].*inputs=3",
    ),
    "update first": (
        lambda: small().update(),
        RuntimeError,
        r"nothing has run since .*; call run\(\) first",
    ),
    "conductances": (
        lambda: small(synapses="conductance").fit(images(), engine="event"),
        RuntimeError,
        "does not serve this network: it knows current-based synapses only",
    ),
}


@pytest.mark.parametrize(("call", "kind", "text"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_said_clearly_before_any_work(call, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


def test_a_presentation_does_not_change_its_batch() -> None:
    net = network()
    net.run({"inp": torch.zeros(2, INPUTS)})
    with pytest.raises(
        ValueError, match=r"2 images cannot go on with 3; call init_param\(\) first"
    ):
        net.run({"inp": torch.zeros(3, INPUTS)})
    net.init_param()
    assert net.run({"inp": torch.zeros(3, INPUTS)}).shape == (3, N)


def test_a_rule_that_needs_steps_without_spikes_learns_in_the_batched_engine() -> None:
    class Leaking(PowerLaw):
        def terms(self, pre, post, memory):
            memory, terms = super().terms(pre, post, memory)
            everywhere = torch.ones_like(pre), torch.ones_like(post)
            return memory, (*terms, Term(lambda w: -1e-4 * w, *everywhere))

    net = small(rule=Leaking())
    before = net.xe.w.clone()
    net.fit(images(), generator=torch.Generator().manual_seed(0))
    assert net.way().engine is batched and not torch.equal(before, net.xe.w)
    with pytest.raises(RuntimeError, match="Leaking is not event-driven, it changes weights in"):
        net.fit(images(), engine="event")
