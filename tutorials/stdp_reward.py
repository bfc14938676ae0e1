"""R-STDP: a reward tells STDP what to keep.

You learn how a reward turns an unsupervised rule into one that learns a task, why the reward is
compared with what was expected, and how an eligibility trace bridges the time until it comes.
"""

# %% [markdown]
# STDP alone strengthens whatever happened. Reward-modulated STDP multiplies what it proposes by a
# reward: what led to success is strengthened, what led to failure is weakened. There is no gradient
# and no target, only "good" or "bad".

# %%
import matplotlib.pyplot as plt
import torch
from common import Tutorial, images

from spikeloom import spikegen, spikeplot
from spikeloom.core.transition import winner
from spikeloom.learning import MSTDP, MSTDPET, PostPre

lesson = Tutorial("stdp_reward")
CLASSES, STEPS = (0, 1, 2), 40
split = images(size=8)
generator = torch.Generator().manual_seed(0)


def chosen(x, y):
    """The samples of three digits, flat, and their classes counted from 0."""
    kept = torch.isin(y, torch.tensor(CLASSES))
    return x[kept].flatten(1), y[kept]


(x_train, y_train), (x_test, y_test) = (
    chosen(split.x_train, split.y_train),
    chosen(split.x_test, split.y_test),
)
x_train, y_train = x_train[: lesson.pick(2000, 400)], y_train[: lesson.pick(2000, 400)]

# %% [markdown]
# ## The network
# Pixels are Poisson spikes of up to 200 Hz; one population of ten neurons for each class integrates
# them and fires with a probability that grows with its membrane. Chance is not a nuisance here:
# without trying there is nothing to reward.

# %%
GROUP = 10
fc = torch.nn.Linear(64, GROUP * len(CLASSES), bias=False)
torch.nn.init.uniform_(fc.weight, 0.2, 0.4, generator=generator)


def respond(x, gain=8.0):
    """Input spikes [T, B, 64] and output spikes [T, B, neurons]: in each step, one neuron of a
    sample fires."""
    spk_in = spikegen.poisson(200 * x, 1e-3, STEPS, generator=generator)
    drive, spk_out = torch.zeros(len(x), fc.out_features), []
    for s_t in spk_in:
        drive = 0.95 * drive + fc(s_t).detach()
        noise = (
            torch.rand(drive.shape, generator=generator).clamp(1e-6).log().neg().log().neg()
        )  # Gumbel's
        spk_out.append(winner(gain * drive / drive.mean(1, keepdim=True).clamp(min=1e-6) + noise))
    return spk_in, torch.stack(spk_out)


def answer(spk_out):
    """The class whose neurons fired most."""
    return spk_out.sum(0).unflatten(1, (len(CLASSES), GROUP)).sum(2).argmax(1)


def decided(spk_out):
    """The spikes of the population whose answer counted: the others did not act, so that no reward
    is theirs."""
    acted = torch.nn.functional.one_hot(answer(spk_out), len(CLASSES)).repeat_interleave(GROUP, 1)
    return spk_out * acted


def learn(rule, change):
    """Change the weights, and keep their sum: a population that is punished must not fall silent
    for good."""
    rule.apply(fc, change)
    with torch.no_grad():
        fc.weight.mul_(0.3 * fc.in_features / fc.weight.sum(1, keepdim=True))


def accuracy():
    """On the test samples, in shares."""
    return (answer(respond(x_test)[1]) == y_test).double().mean().item()


# %% [markdown]
# ## Learning at once
# Each sample has its own reward: +1 for the right answer, -1 for a wrong one, less the mean reward
# so far, so that what is expected teaches nothing.

# %%
rule = MSTDP(PostPre(nu_pre=0.0, nu_post=3e-2, x_tar=0.3, reduction="mean"))
course, expected = [accuracy()], 0.0
for _ in range(lesson.pick(15, 6)):
    order = torch.randperm(len(x_train), generator=generator)
    for batch in order.split(20):
        spk_in, spk_out = respond(x_train[batch])
        reward = 2.0 * (answer(spk_out) == y_train[batch]).float() - 1
        _, change = rule.sequence(fc, spk_in, decided(spk_out), reward - expected)
        learn(rule, change)
        expected = 0.95 * expected + 0.05 * reward.mean().item()
    course.append(accuracy())
at_once = course[-1]
fig, ax = plt.subplots(figsize=(6, 3))
ax.plot([100 * share for share in course])
ax.set_xlabel("passes over the training samples")
ax.set_ylabel("test accuracy [%]")
lesson.picture(fig, "course.png")
lesson.picture(spikeplot.weights(fc.weight.detach()), "weights.png")

# %% [markdown]
# ## Learning later
# Here the reward comes when the spikes are over. Each synapse keeps a fading trace of what STDP
# proposed (`MSTDPET`), [B, outputs, inputs], and a reward ten steps late still finds it.

# %%
torch.nn.init.uniform_(fc.weight, 0.2, 0.4, generator=generator)
late_rule = MSTDPET(PostPre(nu_pre=0.0, nu_post=2.0, x_tar=0.3, reduction="mean"), tau_trace=40.0)
before, expected = accuracy(), 0.0
for _ in range(lesson.pick(15, 6)):
    for batch in torch.randperm(len(x_train), generator=generator).split(20):
        spk_in, spk_out = respond(x_train[batch])
        reward = 2.0 * (answer(spk_out) == y_train[batch]).float() - 1
        spk_out, memory = decided(spk_out), None
        silence = [torch.zeros_like(s[:10]) for s in (spk_in, spk_out)]
        for pre, post in zip(
            torch.cat([spk_in, silence[0]]), torch.cat([spk_out, silence[1]]), strict=True
        ):
            memory, _ = late_rule.step(fc, pre, post, 0.0, memory)
        nothing = torch.zeros_like(pre), torch.zeros_like(post)
        _, change = late_rule.step(fc, *nothing, reward - expected, memory)
        learn(late_rule, change)
        expected = 0.95 * expected + 0.05 * reward.mean().item()
late = accuracy()

# %%
lesson.report(
    accuracy_before=course[0],
    accuracy_at_once=at_once,
    accuracy_before_late=before,
    accuracy_late=late,
)
