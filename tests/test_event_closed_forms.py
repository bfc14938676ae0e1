"""What a neuron does between two events, and when it reaches threshold."""

import math

import pytest

from spikeloom.learning.eventprop.closed_forms import crossing, decays, share_slopes


def test_the_share_of_the_current_is_smooth_where_time_constants_meet() -> None:
    for d in (0.1, 3.0):
        at, near = decays(d, 2.0, 2.0)[2], decays(d, 2.0, 2.0 + 1e-9)[2]
        assert at == pytest.approx(d / 2 * math.exp(-d / 2), rel=1e-14) and near == pytest.approx(
            at, rel=1e-8
        )
        for tau_s in (2.0, 2.0 + 1e-4, 1.0, 9.0):
            by_m, by_s = share_slopes(d, 2.0, tau_s)
            high, low = decays(d, 2.0 + 1e-5, tau_s)[2], decays(d, 2.0 - 1e-5, tau_s)[2]
            assert by_m == pytest.approx((high - low) / 2e-5, rel=1e-6, abs=1e-9)
            high, low = decays(d, 2.0, tau_s + 1e-5)[2], decays(d, 2.0, tau_s - 1e-5)[2]
            assert by_s == pytest.approx((high - low) / 2e-5, rel=1e-6, abs=1e-9)


def test_a_peak_between_two_events_is_a_spike_if_it_reaches_threshold() -> None:
    top = decays(2 * math.log(2), 2.0, 1.0)[2]  # the maximum of a unit current, at 2 ln 2
    assert crossing(0.0, 1 / top * (1 - 1e-9), 2.0, 1.0, 1.0, 50.0) == -1.0
    assert crossing(0.0, 1 / top * (1 + 1e-9), 2.0, 1.0, 1.0, 50.0) == pytest.approx(
        2 * math.log(2), abs=1e-3
    )
    assert crossing(-5.0, 1.5, 2.0, 1.0, 1.0, 50.0) == -1.0
