"""The neuron configurations that `record_neurons` records, as tuples (name, class, keyword
arguments, setup).

A setup names the outputs in the order of return, the state arguments in order, the input, how the
neuron is called, and where needed values or factors of parameters (``set``, ``scale``), and that
membranes may lie on the threshold (``exact``). ``SKIPPED`` lists what snnTorch 1.0.0 cannot do, or
does wrong, with the reason.
"""

__all__ = ["SKIPPED", "cases"]

RESETS = ("subtract", "zero", "none")
DELAYS = (True, False)
BETAS, ALPHAS, THRESHOLDS = (
    [0.2, 0.5, 0.7, 0.85, 0.95],
    [0.5, 0.6, 0.7, 0.8, 0.9],
    [0.8, 1.0, 1.2, 0.6, 1.5],
)
DENSE = {"outputs": ["spk", "mem"], "inputs": ["mem"], "x": "dense"}
SYNAPTIC = {"outputs": ["spk", "syn", "mem"], "inputs": ["syn", "mem"], "x": "small"}
ALPHA = {
    "outputs": ["spk", "syn_exc", "syn_inh", "mem"],
    "inputs": ["syn_exc", "syn_inh", "mem"],
    "x": "dense",
}
RECURRENT = {"outputs": ["spk", "mem"], "inputs": ["spk", "mem"], "x": "dense"}
RSYNAPTIC = {"outputs": ["spk", "syn", "mem"], "inputs": ["spk", "syn", "mem"], "x": "small"}
LSTM = {"outputs": ["spk", "syn", "mem"], "inputs": ["syn", "mem"], "x": "large"}
DELTA = {"outputs": ["spk", "mem", "mem_prev"], "inputs": [["mem", "mem_prev"]], "x": "dense"}
SEQUENCE = {"outputs": ["spk", "mem"], "inputs": [], "x": "dense", "mode": "sequence"}
HIDDEN = {"mode": "hidden"}
SPIKE_ONLY = {"mode": "hidden", "outputs": ["spk"], "returns": "tensor"}
BETA, ALPHA_, THRESHOLD = ({"tensor": values} for values in (BETAS, ALPHAS, THRESHOLDS))
LEARN = {"learn_beta": True, "learn_threshold": True}
QUANT = {"call": "functional.quant.state_quant", "kwargs": {"num_bits": 4, "upper_limit": 0.8}}
CLAMP = [
    -0.2,
    0.3,
    0.9,
    1.0,
    1.4,
]  # loaded, as training would leave it: a constructor may refuse what lies outside [0, 1]


def sweep(neuron, setup, base, variants, resets=RESETS, delays=(None,)):
    """One case for each variant, reset mechanism and reset delay (None: the neuron has no such
    argument)."""
    for variant, extra in variants.items():
        for reset in resets:
            for delay in delays:
                late = {} if delay is None else {"reset_delay": delay}
                name = "/".join(
                    [neuron, variant, reset, *(["immediate"] if delay is False else [])]
                )
                yield name, neuron, {**base, **extra, "reset_mechanism": reset, **late}, setup


def leaky():
    base = {"beta": 0.8}
    learn = {
        "plain": {},
        "learn": LEARN,
        "learn_vector": {"beta": BETA, "threshold": THRESHOLD, **LEARN},
        "learn_graded": {"graded_spikes_factor": 0.6, "learn_graded_spikes_factor": True, **LEARN},
    }
    yield from sweep("Leaky", DENSE, base, learn, delays=DELAYS)
    inhibition = {"inhibition": True, **LEARN}
    quant = {
        "quant": {"state_quant": QUANT},
        "inhibition_quant": {"inhibition": True, "state_quant": QUANT},
    }
    yield from sweep("Leaky", DENSE, base, {"inhibition": inhibition, **quant})
    one = {
        "graded_vector": {
            "graded_spikes_factor": {"tensor": BETAS},
            "learn_graded_spikes_factor": True,
        },
        "surrogate_disable": {"surrogate_disable": True, **LEARN},
        "fast_sigmoid": {
            "spike_grad": {"call": "surrogate.fast_sigmoid", "kwargs": {"slope": 10}},
            "threshold": 0.5,
            **LEARN,
        },
        "sigmoid": {
            "spike_grad": {"call": "surrogate.sigmoid", "kwargs": {"slope": 5}},
            "threshold": 2.0,
            **LEARN,
        },
    }
    yield from sweep("Leaky", DENSE, base, one, resets=("subtract",))
    clamp = {**DENSE, "set": {"beta": CLAMP}}
    yield from sweep("Leaky", clamp, base, {"clamp": {"beta": BETA, **LEARN}}, resets=("subtract",))
    yield from sweep("Leaky", {**DENSE, "x": "image"}, base, {"image": LEARN}, resets=("subtract",))
    yield from sweep(
        "Leaky", {**DENSE, "initial": ["mem"]}, base, {"initial": LEARN}, delays=DELAYS
    )
    yield from sweep(
        "Leaky", {**DENSE, "x": "ties", "exact": True}, {"beta": 0.5}, {"ties": {}}, delays=DELAYS
    )
    yield from sweep("Leaky", {**DENSE, **HIDDEN}, base, {"carried": {}}, resets=("subtract",))
    yield from sweep(
        "Leaky",
        {**DENSE, **SPIKE_ONLY},
        base,
        {"hidden": {"init_hidden": True, **LEARN}},
        delays=DELAYS,
    )
    states = {"hidden_output": {"init_hidden": True, "output": True}, "output": {"output": True}}
    yield from sweep("Leaky", {**DENSE, **HIDDEN}, base, states, resets=("subtract",))


def lapicque():
    setup = {**DENSE, "x": "large"}
    variants = {
        "beta": {"beta": 0.8},
        "learn": {"beta": 0.8, **LEARN},
        "RC": {"R": 1.5, "C": 3.0, "learn_threshold": True},
        "RC_step": {"R": 5.0, "C": 0.001, "time_step": 0.001, "threshold": 0.8},
        "beta_R": {"beta": 0.8, "R": 2.0},
        "beta_C": {"beta": 0.8, "C": 3.0},
        "inhibition": {"beta": 0.8, "inhibition": True},
    }
    yield from sweep("Lapicque", setup, {}, variants)
    yield from sweep("Lapicque", {**setup, "initial": ["mem"]}, {}, {"initial": {"beta": 0.8}})
    yield from sweep(
        "Lapicque",
        {**setup, **SPIKE_ONLY},
        {},
        {"hidden": {"beta": 0.8, "init_hidden": True}},
        ("subtract",),
    )


def synaptic():
    base = {"alpha": 0.7, "beta": 0.6}
    learn = {"learn_alpha": True, **LEARN}
    variants = {
        "plain": {},
        "learn": learn,
        "learn_vector": {"alpha": ALPHA_, "beta": BETA, "threshold": THRESHOLD, **learn},
    }
    yield from sweep("Synaptic", SYNAPTIC, base, variants, delays=DELAYS)
    yield from sweep("Synaptic", SYNAPTIC, base, {"inhibition": {"inhibition": True}})
    clamp = {**SYNAPTIC, "set": {"alpha": CLAMP}}
    yield from sweep(
        "Synaptic", clamp, base, {"clamp": {"alpha": ALPHA_, **learn}}, resets=("subtract",)
    )
    yield from sweep(
        "Synaptic", {**SYNAPTIC, "initial": ["syn", "mem"]}, base, {"initial": {"threshold": 2.0}}
    )
    exact = {"alpha": 0.5, "beta": 0.5}
    yield from sweep("Synaptic", {**SYNAPTIC, "x": "ties", "exact": True}, exact, {"ties": {}})
    yield from sweep(
        "Synaptic",
        {**SYNAPTIC, **SPIKE_ONLY},
        base,
        {"hidden": {"init_hidden": True}},
        resets=("subtract",),
    )
    states = {"hidden_output": {"init_hidden": True, "output": True}}
    yield from sweep("Synaptic", {**SYNAPTIC, **HIDDEN}, base, states, resets=("subtract",))


def alpha():
    base = {"alpha": 0.9, "beta": 0.6}
    variants = {
        "plain": {},
        "learn": LEARN,
        "learn_vector": {
            "alpha": ALPHA_,
            "beta": {"tensor": [0.2, 0.3, 0.5, 0.6, 0.7]},
            "threshold": THRESHOLD,
            **LEARN,
        },
        "inhibition": {"inhibition": True},
    }
    yield from sweep("Alpha", ALPHA, base, variants)
    yield from sweep(
        "Alpha",
        {**ALPHA, "initial": ["syn_exc", "syn_inh", "mem"]},
        base,
        {"initial": {"threshold": 0.7}},
    )
    yield from sweep(
        "Alpha", {**ALPHA, **SPIKE_ONLY}, base, {"hidden": {"init_hidden": True}}, resets=("zero",)
    )
    states = {"hidden_output": {"init_hidden": True, "output": True}}
    yield from sweep("Alpha", {**ALPHA, **HIDDEN}, base, states, resets=("zero",))


CONV = {"conv2d_channels": 2, "kernel_size": 3}


def recurrent(neuron, setup, base, delays, learn):
    """RLeaky and RSynaptic: dense, convolutional and one-to-one feedback."""
    variants = {
        "linear": {"linear_features": 5},
        "linear_learn": {"linear_features": 5, **learn},
        "one_to_one": {"all_to_all": False, "V": 0.4, **learn},
        "one_to_one_vector": {"all_to_all": False, "V": {"tensor": [-0.5, 0.1, 0.3, 0.6, 0.9]}},
    }
    yield from sweep(neuron, setup, base, variants, delays=delays)
    image = {**setup, "x": "image"}
    yield from sweep(neuron, image, base, {"conv": {**CONV, **learn}}, delays=delays)
    flat = {"conv_rectangle": {**CONV, "kernel_size": [3, 5]}}
    yield from sweep(neuron, image, base, flat, resets=("subtract",))
    one = {
        "fixed": {"linear_features": 5, "learn_recurrent": False},
        "fixed_V": {"all_to_all": False, "V": 0.4, "learn_recurrent": False},
        "inhibition": {"linear_features": 5, "inhibition": True},
    }
    yield from sweep(neuron, setup, base, one, resets=("subtract",))
    initial = {**setup, "initial": setup["inputs"]}
    yield from sweep(neuron, initial, base, {"initial": {"linear_features": 5, "threshold": 1.3}})
    hidden = {"linear_features": 5, "init_hidden": True}
    yield from sweep(
        neuron, {**setup, **SPIKE_ONLY}, base, {"hidden": hidden}, resets=("subtract",)
    )
    states = {"hidden_output": {**hidden, "output": True}}
    yield from sweep(neuron, {**setup, **HIDDEN}, base, states, resets=("subtract",))


def lstm():
    base = {"input_size": 5, "hidden_size": 5, "threshold": 0.15}
    variants = {"plain": {}, "learn": {"learn_threshold": True}, "no_bias": {"bias": False}}
    yield from sweep("SLSTM", LSTM, base, variants)
    yield from sweep(
        "SLSTM", {**LSTM, "initial": ["syn", "mem"]}, base, {"initial": {}}, resets=("subtract",)
    )
    yield from sweep(
        "SLSTM", {**LSTM, **SPIKE_ONLY}, base, {"hidden": {"init_hidden": True}}, resets=("none",)
    )
    base = {"in_channels": 2, "out_channels": 2, "kernel_size": 3, "threshold": 0.1}
    image = {**LSTM, "x": "image_large"}
    variants = {
        "plain": {},
        "max_pool": {"max_pool": 2},
        "avg_pool": {"avg_pool": 2, "threshold": 0.05},
    }
    variants = {name: {"learn_threshold": True, **kwargs} for name, kwargs in variants.items()}
    yield from sweep("SConv2dLSTM", image, base, variants)
    yield from sweep(
        "SConv2dLSTM",
        image,
        base,
        {"rectangle": {"kernel_size": [3, 5], "bias": False}},
        resets=("none",),
    )
    yield from sweep(
        "SConv2dLSTM",
        {**image, **SPIKE_ONLY},
        base,
        {"hidden": {"init_hidden": True}},
        resets=("none",),
    )


def delta():
    base = {"delta_threshold": 0.6, "beta": 0.8}
    hidden = {"init_hidden": True, "learn_beta": True}
    explicit = {**DELTA, "initial": ["mem", "mem_prev"]}
    yield "DeltaLeaky/explicit", "DeltaLeaky", base, explicit
    yield "DeltaLeaky/hidden", "DeltaLeaky", {**base, **hidden}, {**DELTA, **HIDDEN}
    yield "DeltaLeaky/vector", "DeltaLeaky", {**base, "beta": BETA, **hidden}, {**DELTA, **HIDDEN}
    ties = {"delta_threshold": 0.5, "beta": 0.5, "init_hidden": True}
    yield "DeltaLeaky/ties", "DeltaLeaky", ties, {**DELTA, **HIDDEN, "x": "ties", "exact": True}


def sequence():
    """The neurons that take the whole input [T, B, F] at once."""
    spikes = {**SEQUENCE, "outputs": ["spk"], "returns": "tensor"}
    states = {**SEQUENCE, "outputs": ["mem"], "returns": "tensor"}
    base = {"beta": 0.7, "channels": 5}
    learn = {**LEARN, "threshold": 1.2}
    yield "StateLeaky/plain", "StateLeaky", base, SEQUENCE
    yield "StateLeaky/learn", "StateLeaky", {**base, **learn}, SEQUENCE
    yield (
        "StateLeaky/learn_vector",
        "StateLeaky",
        {**base, **LEARN, "beta": BETA, "threshold": THRESHOLD},
        SEQUENCE,
    )
    yield (
        "StateLeaky/truncated",
        "StateLeaky",
        {**base, **LEARN, "kernel_truncation_steps": 4},
        SEQUENCE,
    )
    yield (
        "StateLeaky/no_output",
        "StateLeaky",
        {**base, "learn_beta": True, "output": False},
        states,
    )
    base = {"beta": 0.7, "in_features": 5, "out_features": 4}
    yield "LinearLeaky/plain", "LinearLeaky", base, {**SEQUENCE, "x": "large"}
    yield (
        "LinearLeaky/learn",
        "LinearLeaky",
        {**base, **learn, "bias": False},
        {**SEQUENCE, "x": "large"},
    )
    yield (
        "LinearLeaky/truncated",
        "LinearLeaky",
        {**base, "kernel_truncation_steps": 3},
        {**SEQUENCE, "x": "large"},
    )
    yield (
        "LinearLeaky/no_output",
        "LinearLeaky",
        {**base, "output": False},
        {**states, "x": "large"},
    )
    base, spikes = {"input_size": 5, "hidden_size": 4, "threshold": 0.3}, {**spikes, "x": "large"}
    yield "LeakyParallel/plain", "LeakyParallel", base, spikes
    yield "LeakyParallel/beta", "LeakyParallel", {**base, "beta": 0.7}, spikes
    yield (
        "LeakyParallel/learn",
        "LeakyParallel",
        {**base, "beta": 0.7, "bias": False, **LEARN},
        spikes,
    )
    dense = {"beta": 0.2, "weight_hh_enable": True, "learn_beta": True}
    yield "LeakyParallel/dense", "LeakyParallel", {**base, **dense}, spikes
    graded = {"graded_spikes_factor": 0.6, "learn_graded_spikes_factor": True}
    yield "LeakyParallel/graded", "LeakyParallel", {**base, **graded}, spikes
    base, short = {"in_dim": 5}, {**spikes, "x": "short", "scale": {"to_v.weight": 8.0}}
    square = {"num_spiking_neurons": 4}
    yield (
        "AssociativeLeaky/square",
        "AssociativeLeaky.from_num_spiking_neurons",
        {**base, **square},
        short,
    )
    full = {**base, "d_value": 2, "d_key": 2, **square}
    yield (
        "AssociativeLeaky/no_query",
        "AssociativeLeaky",
        {**full, "use_q_projection": False},
        short,
    )
    rectangle = {
        **base,
        "d_value": 3,
        "d_key": 2,
        "num_spiking_neurons": 6,
        "use_q_projection": False,
    }
    yield "AssociativeLeaky/rectangle", "AssociativeLeaky", rectangle, short


SKIPPED = [
    ("Leaky", {"beta": 1, "learn_beta": True}, "crash"),
    ("Leaky", {"beta": 0.5, "threshold": 1, "learn_threshold": True}, "crash"),
    ("Leaky", {"beta": 0.5, "inhibition": True, "x": "image"}, "crash at the first call"),
    (
        "Leaky",
        {"beta": 0.5, "inhibition": True, "graded_spikes_factor": 0.5},
        "wrong: the factor is ignored",
    ),
    ("Lapicque", {"beta": BETA}, "crash"),
    ("Lapicque", {"beta": 0.8, "R": 2.0, "C": 3.0}, "crash at the first call"),
    ("Lapicque", {"beta": 0.8, "R": 2.0, "learn_beta": True}, "crash"),
    ("Lapicque", {"beta": 0.8, "C": 3.0, "learn_beta": True}, "crash"),
    ("Lapicque", {"R": 2.0, "C": 3.0, "learn_beta": True}, "crash"),
    ("Alpha", {"alpha": 0.9, "beta": 0.6, "learn_alpha": True}, "crash"),
    (
        "RSynaptic",
        {"alpha": 0.7, "beta": 0.6, "linear_features": 5, "reset_delay": False},
        "crash at the first call",
    ),
    ("SLSTM", {"input_size": 5, "hidden_size": 4}, "wrong: the state is forgotten at every step"),
    (
        "LeakyParallel",
        {"input_size": 5, "hidden_size": 5, "beta": BETA},
        "wrong: a vector beta is ignored",
    ),
    ("LeakyParallel", {"input_size": 5, "hidden_size": 4, "beta": {"tensor": 0.7}}, "crash"),
    (
        "StateLeaky",
        {"beta": 0.7, "channels": 5, "graded_spikes_factor": 0.5},
        "wrong: the factor is applied twice",
    ),
    (
        "LinearLeaky",
        {"beta": 0.7, "in_features": 5, "out_features": 4, "graded_spikes_factor": 0.5},
        "wrong: twice",
    ),
    (
        "AssociativeLeaky",
        {"in_dim": 5, "d_value": 2, "d_key": 2, "num_spiking_neurons": None},
        "crash",
    ),
    (
        "AssociativeLeaky",
        {"in_dim": 5, "d_value": 3, "d_key": 2, "num_spiking_neurons": 6},
        "wrong: d*d outputs",
    ),
    (
        "DeltaLeaky",
        {"beta": 0.8, "mem": None},
        "crash: init_hidden=False needs the tuple (mem, mem_prev)",
    ),
]


def cases():
    """Every recorded configuration."""
    learn = LEARN | {"learn_recurrent": True}
    for family in (leaky, lapicque, synaptic, alpha, lstm, delta, sequence):
        yield from family()
    yield from recurrent("RLeaky", RECURRENT, {"beta": 0.8}, DELAYS, learn)
    yield from recurrent(
        "RSynaptic", RSYNAPTIC, {"alpha": 0.7, "beta": 0.6}, (None,), learn | {"learn_alpha": True}
    )
