"""What the figures of each tutorial have to show in a smoke run, on any processor.

A function for each tutorial; its parameters are the figures that the tutorial reports. What follows
from an equation has a value and a margin for rounding. What a training arrives at depends on the
order of sums: there a figure is compared with its control in the same run, or with chance. The
margins hold with generic, AVX2 and AVX-512 kernels.
"""

import inspect
import math
import sys

import pytest

__all__ = ["CLAIMS"]


def accelerators(*, largest_difference: float, ways_agree: float, test_accuracy: float) -> None:
    assert largest_difference < 1e-4
    assert ways_agree == 1
    assert test_accuracy > 0.6  # chance: 0.1


def autoencoder(
    *,
    difference_to_loop: float,
    baseline: float,
    test_loss: float,
    explained: float,
    spikes_per_code: float,
    distance_ratio: float,
) -> None:
    assert difference_to_loop < 1e-4
    assert baseline == pytest.approx(0.0457, abs=1e-3)  # a mean of the images
    assert explained == pytest.approx(1 - test_loss / baseline, abs=1e-3)
    assert spikes_per_code > 1
    assert distance_ratio < 0.95, "codes of one class are closer than those of two"


def chaos(
    *,
    weight_plain: float,
    task_loss_plain: float,
    onset: float,
    first_chaos: float,
    largest_exponent: float,
    early_exponent: float,
    strength_after_one_step: float,
    accuracy_plain: float,
    accuracy_chaos: float,
    accuracy_noise: float,
) -> None:
    assert weight_plain == pytest.approx(0.4, abs=0.01)
    assert task_loss_plain < 0.01
    assert onset == pytest.approx(2, abs=0.05)
    assert onset < first_chaos < 4
    assert largest_exponent > 0.1
    assert early_exponent > 0.1
    assert strength_after_one_step == pytest.approx(3.15, abs=1e-4)
    assert min(accuracy_plain, accuracy_chaos, accuracy_noise) > 0.3  # chance: 0.1


def conversion(
    *,
    worst_error_of_a_neuron: float,
    accuracy_ordinary: float,
    accuracy_8_steps: float,
    accuracy_tuned_2_steps: float,
    difference_of_unit_spikes: float,
) -> None:
    assert worst_error_of_a_neuron <= 0.5 / 32 + 1e-4, "half a spike in 32 steps"
    assert accuracy_ordinary > 0.85
    assert accuracy_8_steps > accuracy_ordinary - 0.1
    assert accuracy_tuned_2_steps > accuracy_ordinary - 0.2
    assert difference_of_unit_spikes < 1e-4


def delays(
    *,
    right_by_hand: float,
    first_loss: float,
    last_loss: float,
    largest_error_in_steps: float,
    accuracy_learned: float,
    accuracy_without_delays: float,
) -> None:
    assert right_by_hand == 1
    assert last_loss < first_loss / 3
    assert largest_error_in_steps <= 1
    assert accuracy_learned > 0.7
    assert accuracy_without_delays == pytest.approx(0.25), "four equal answers: chance"


def doctor(
    *,
    accuracy_before: float,
    findings_before: float,
    findings_after: float,
    accuracy_after: float,
    found_pixels: float,
    found_forgotten: float,
    spikes_per_sample: float,
    energy_ratio_of_memory: float,
) -> None:
    assert accuracy_before < 0.2  # chance: 0.1
    assert findings_before >= 1 and findings_after == 0
    assert accuracy_after > 0.6
    assert found_pixels == found_forgotten == 1
    assert spikes_per_sample > 1
    assert energy_ratio_of_memory > 5, "memory, not arithmetic, needs the energy"


def exoplanets(
    *,
    auc_whole_smote: float,
    auc_whole_shifts: float,
    auc_step: float,
    sensitivity_step: float,
    specificity_step: float,
    accuracy_step: float,
    share_of_planets: float,
) -> None:
    assert auc_step > max(auc_whole_smote, auc_whole_shifts) + 0.05
    assert sensitivity_step + specificity_step > 1.3  # chance: 1
    assert accuracy_step > 0.6
    assert share_of_planets == pytest.approx(0.05)


def export_network(
    *,
    accuracy: float,
    problems_norse: float,
    problems_sinabs: float,
    same_spikes_nir: float,
    accuracy_8_bits: float,
    accuracy_2_bits: float,
    c_differing: float,
    same_spikes_export: float,
) -> None:
    assert accuracy > 0.5  # chance: 0.1
    assert problems_norse == 0 < problems_sinabs
    assert min(same_spikes_nir, same_spikes_export) > 0.999
    assert abs(accuracy_8_bits - accuracy) < 0.05
    assert accuracy_2_bits < accuracy
    assert c_differing in (0, -1), "-1: there is no compiler"


def first_ten_minutes(
    *,
    first_spike: float,
    same_spikes_as_loop: float,
    test_accuracy: float,
    own_accuracy: float,
    same_spikes_after_loading: float,
) -> None:
    assert first_spike == 3, "0.3, 0.57, 0.813, 1.03"
    assert same_spikes_as_loop > 0.999
    assert min(test_accuracy, own_accuracy) > 0.7  # chance: 0.1
    assert same_spikes_after_loading == 1


def own_loop(
    *,
    same_spikes: float,
    largest_difference: float,
    loss_difference: float,
    forced_before: float,
    forced_after: float,
    same_most: float,
) -> None:
    assert same_spikes > 0.999
    assert max(largest_difference, loss_difference) < 1e-3
    assert (forced_before, forced_after) == (25, 0)
    assert same_most == 1


def population_coding(
    *,
    accuracy_one: float,
    accuracy_population: float,
    gain: float,
    silent_images_one: float,
    votes_for_the_right_class: float,
) -> None:
    assert accuracy_population > accuracy_one + 0.03
    assert gain == pytest.approx(accuracy_population - accuracy_one, abs=1e-5)
    assert 0 < silent_images_one < 1 - accuracy_one + 0.2, (
        "some images have no vote, those with one are mostly right"
    )
    assert votes_for_the_right_class > 0.4


def real_neuron(
    *,
    gamma_random: float,
    gamma_untrained: float,
    gamma_leaky: float,
    gamma_refractory: float,
    gamma_adaptive: float,
    gamma_exponential: float,
    gamma_fitted: float,
    loss_ratio: float,
) -> None:
    assert abs(gamma_random) < 0.3, "chance"
    assert gamma_fitted > gamma_untrained + 0.1
    assert loss_ratio < 0.95
    assert gamma_refractory > gamma_leaky, "the simulated cell is refractory"
    assert min(gamma_leaky, gamma_adaptive, gamma_exponential) > 0.3


def regression_1(
    *,
    difference_to_loop: float,
    first_loss: float,
    last_loss: float,
    relative_error: float,
    moved_beta: float,
) -> None:
    assert difference_to_loop < 1e-4
    assert last_loss < first_loss / 50
    assert relative_error < 0.6
    assert moved_beta > 1e-3


def regression_2(
    *,
    same_spikes_as_loop: float,
    accuracy_counts: float,
    accuracy_membranes: float,
    spikes_right: float,
    spikes_others: float,
    recall_with: float,
    recall_without: float,
) -> None:
    assert same_spikes_as_loop > 0.999
    assert min(accuracy_counts, accuracy_membranes) > 0.25  # chance: 0.1
    assert spikes_right > 1.3 * spikes_others
    assert recall_with > recall_without + 0.2


def several_processes(
    *,
    loss_difference: float,
    weight_difference: float,
    processes: float,
    test_accuracy: float,
    own_first_loss: float,
    own_last_loss: float,
    same_weights: float,
) -> None:
    assert max(loss_difference, weight_difference) < 1e-9
    assert processes == 2
    assert test_accuracy > 0.3  # chance: 0.1
    assert own_last_loss < own_first_loss
    assert same_weights == 1


def sound_and_series(
    *,
    wav_error: float,
    series_error: float,
    shortest: float,
    longest: float,
    same_spikes_alone: float,
    first_loss: float,
    last_loss: float,
    test_accuracy: float,
    accuracy_shuffled: float,
) -> None:
    assert wav_error < 2**-14, "16 bits"
    assert series_error < 6e-5, "four digits"
    assert shortest < longest
    assert same_spikes_alone > 0.99
    assert last_loss < first_loss / 2
    assert test_accuracy > 0.6 > 0.5 > accuracy_shuffled  # chance: 0.25


def st_mnist(
    *,
    events_of_first: float,
    longest_recording_s: float,
    same_spikes_as_loop: float,
    first_loss: float,
    last_loss: float,
    test_accuracy: float,
) -> None:
    assert events_of_first == pytest.approx(299, abs=10)
    assert longest_recording_s == pytest.approx(1.49, abs=0.02)
    assert same_spikes_as_loop > 0.999
    assert last_loss < 0.7 * first_loss
    assert 0 <= test_accuracy <= 1  # a smoke run is too short to leave chance


def stdp_digits(
    *,
    winner_share: float,
    largest_change: float,
    accuracy_all: float,
    accuracy_proportion: float,
    spikes_an_image: float,
) -> None:
    assert winner_share == 1
    assert largest_change > 0.1
    assert min(accuracy_all, accuracy_proportion) > 0.5  # chance: 0.1
    assert spikes_an_image > 1


def stdp_reward(
    *,
    accuracy_before: float,
    accuracy_at_once: float,
    accuracy_before_late: float,
    accuracy_late: float,
) -> None:
    assert accuracy_at_once > accuracy_before + 0.2
    assert accuracy_late > accuracy_before_late + 0.2


def tutorial_1_spike_encoding(
    *,
    rate_error: float,
    gain_ratio: float,
    latency_spikes_per_pixel: float,
    clipped_share: float,
    delta_on: float,
    delta_off: float,
    phase_error: float,
    noise_rate: float,
) -> None:
    assert rate_error < 0.05
    assert gain_ratio == pytest.approx(0.25, abs=0.02)
    assert latency_spikes_per_pixel == 1
    assert clipped_share == pytest.approx(0.598, abs=0.01)
    assert (delta_on, delta_off) == (3, 2)
    assert phase_error <= 2**-8 + 1e-5, "eight binary digits"
    assert noise_rate == pytest.approx(0.25, abs=0.02)


def tutorial_2_lif_neuron(
    *,
    euler_error_1ms: float,
    steady_state: float,
    spikes_without_reset: float,
    spikes_with_reset: float,
    first_spike: float,
    spikes_lower_threshold: float,
    rate_error: float,
    subtract_minus_zero: float,
    half_life_steps: float,
) -> None:
    assert euler_error_1ms == pytest.approx(0.03618, abs=1e-4)
    assert steady_state == pytest.approx(0.5, abs=1e-4)
    assert spikes_without_reset == pytest.approx(91, abs=1)
    assert spikes_with_reset == 1
    assert first_spike == pytest.approx(108, abs=1)
    assert spikes_lower_threshold == pytest.approx(18, abs=1)
    assert rate_error < 0.2
    assert subtract_minus_zero == pytest.approx(6, abs=1)
    assert half_life_steps == pytest.approx(math.log(0.5) / math.log(0.8), abs=1e-4)


def tutorial_3_feedforward_network(
    *,
    beta: float,
    difference_by_hand: float,
    leaky_spikes: float,
    same_spikes_as_loop: float,
    hidden_rate: float,
    output_rate: float,
) -> None:
    assert beta == pytest.approx(math.exp(-0.2), abs=1e-5)
    assert difference_by_hand < 1e-5
    assert leaky_spikes == pytest.approx(20, abs=1)
    assert same_spikes_as_loop > 0.999
    assert 0 < output_rate < hidden_rate < 0.2, "few spikes, and fewer in each layer"


def tutorial_4_second_order_neurons(
    *,
    synaptic_spikes: float,
    synaptic_peak: float,
    alpha_peak: float,
    response_error: float,
    synaptic_without_current: float,
    alpha_spikes: float,
    memory_leaky: float,
    memory_synaptic: float,
) -> None:
    assert synaptic_spikes == pytest.approx(12, abs=1)
    assert (synaptic_peak, alpha_peak) == (5, 6)
    assert max(response_error, synaptic_without_current) < 1e-5
    assert alpha_spikes == 2
    assert (memory_leaky, memory_synaptic) == (11, 34)


def tutorial_5_training(
    *,
    by_hand_error: float,
    bptt_error: float,
    same_spikes_as_loop: float,
    first_loss: float,
    second_loss: float,
    test_loss: float,
    test_accuracy: float,
) -> None:
    assert max(by_hand_error, bptt_error) < 1e-5
    assert same_spikes_as_loop > 0.999
    assert test_loss < second_loss < first_loss
    assert test_accuracy > 0.5  # chance: 0.1


def tutorial_6_convolutional_network(
    *,
    gradient_ratio: float,
    same_spikes_as_loop: float,
    untrained_loss: float,
    lowest_loss: float,
    test_loss: float,
    test_accuracy: float,
    spike_rate: float,
) -> None:
    assert gradient_ratio > 1e5, "a steep surrogate loses the gradient"
    assert same_spikes_as_loop > 0.999
    assert untrained_loss == pytest.approx(math.log(10), abs=1e-3)
    assert lowest_loss == pytest.approx(math.log(math.e + 9) - 1, abs=1e-3)
    assert test_loss < untrained_loss
    assert test_accuracy > 0.3  # chance: 0.1
    assert 0.01 < spike_rate < 0.6


def tutorial_7_event_data(
    *,
    events_of_first: float,
    share_of_events: float,
    same_spikes_as_loop: float,
    first_loss: float,
    last_loss: float,
    test_accuracy: float,
) -> None:
    assert events_of_first == pytest.approx(2277, abs=50)
    assert share_of_events == pytest.approx(0.15, abs=0.01)
    assert same_spikes_as_loop > 0.999
    assert last_loss < 0.8 * first_loss
    assert 0 <= test_accuracy <= 1  # a smoke run is too short to leave chance


CLAIMS = dict(inspect.getmembers(sys.modules[__name__], inspect.isfunction))
