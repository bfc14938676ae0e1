"""Blocks of deep networks: their equations, and that every way to run them gives the plain loop."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from ways import as_the_loop, built, every_way, loop

import spikeloom as snn
from spikeloom import blocks

T, B, N, C = 4, 3, 6, 8


def neuron() -> snn.Leaky:
    return snn.Leaky(0.8, threshold=0.4, init_hidden=True)


def effective(channels: int) -> nn.Module:
    return snn.TemporalEffectiveBatchNorm(nn.BatchNorm2d(channels), T)


def through_time(channels: int) -> nn.Module:
    return snn.EachStep(snn.BatchNormTT2d(channels, T))


def group(channels: int) -> nn.Module:
    return nn.GroupNorm(2, channels)


def encoder(attention: nn.Module) -> nn.Module:
    return blocks.encoder_block(attention, C, neuron, hidden=12)


Make = Callable[[], nn.Module]
OF_IMAGES: dict[str, Make] = {
    "sew": lambda: blocks.sew_block(2, 2, neuron),
    "sew and": lambda: blocks.sew_block(2, 2, neuron, connect="and"),
    "sew iand, strided": lambda: blocks.sew_block(2, 4, neuron, stride=2, connect="iand"),
    "sew without norm": lambda: blocks.sew_block(2, 4, neuron, norm=None),
    "sew, TEBN": lambda: blocks.sew_block(2, 4, neuron, norm=effective),
    "sew, BNTT": lambda: blocks.sew_block(2, 2, neuron, norm=through_time),
    "sew, tdBN": lambda: blocks.sew_block(2, 2, neuron, norm=snn.ThresholdDependentBatchNorm2d),
    "ms": lambda: blocks.ms_block(2, 2, neuron),
    "ms, strided": lambda: blocks.ms_block(2, 4, neuron, stride=2),
    "ms, group norm": lambda: blocks.ms_block(2, 4, neuron, norm=group),
    "vgg": lambda: blocks.vgg([4, "M", 6, "A"], 2, neuron),
    "patches": lambda: blocks.patch_embedding(2, C, neuron, poolings=[False, True]),
}
OF_TOKENS: dict[str, Make] = {
    "mlp": lambda: blocks.token_mlp(C, neuron),
    "self-attention": lambda: blocks.self_attention(C, 2, neuron),
    "self-attention, layer norm": lambda: blocks.self_attention(C, 2, neuron, norm=nn.LayerNorm),
    "token attention": lambda: blocks.qk_attention(C, neuron, heads=2),
    "channel attention": lambda: blocks.qk_attention(C, neuron, over="channels"),
    "encoder": lambda: encoder(blocks.self_attention(C, 2, neuron)),
    "encoder of QKFormer": lambda: encoder(blocks.qk_attention(C, neuron, heads=4)),
}
BLOCKS = OF_IMAGES | OF_TOKENS
every_block = pytest.mark.parametrize("name", BLOCKS)


def given(name: str) -> Tensor:
    """Input over time of a block, [T, B, ...]."""
    shape = (2, 6, 6) if name in OF_IMAGES else (N, C)
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.rand(T, B, *shape, dtype=torch.float64, generator=generator)


@every_way
@every_block
def test_a_block_run_over_time_gives_what_the_plain_loop_gives(way: str, name: str) -> None:
    _, _, output = as_the_loop(way, BLOCKS[name], given(name))
    assert output.detach().abs().sum() > 0  # silence would be equal, too


class Over(nn.Module):
    """Runs a module with a state over time inside a network whose batch is T x B samples."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        module.mode = "sequence"

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.unflatten(0, (T, B))).flatten(0, 1)


def over_time(net: nn.Module) -> nn.Module:
    """The network with every module that has a state inside an `Over`."""
    for path, module in list(net.named_children()):
        if hasattr(module, "reset_mem"):
            setattr(net, path, Over(module))
        else:
            over_time(module)
    return net


OF_ALL_STEPS = [name for name in BLOCKS if name != "sew, BNTT"]  # which has no common statistics


@pytest.mark.parametrize("name", OF_ALL_STEPS)
def test_statistics_of_all_steps_are_those_of_one_batch_of_all_steps(name: str) -> None:
    net, x = built(BLOCKS[name]), given(name)
    twin = over_time(copy.deepcopy(net))
    output = snn.run(net, x, batch_norm="time")
    expected = twin(x.flatten(0, 1)).unflatten(0, (T, B))
    torch.testing.assert_close(output, expected)
    for ours, theirs in zip(net.buffers(), twin.buffers(), strict=True):
        if ours.is_floating_point():  # num_batches_tracked counts the calls, one for each step
            torch.testing.assert_close(ours, theirs)
    weight = torch.rand_like(output)
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@every_block
def test_every_layer_of_a_block_runs_on_all_steps_at_once(name: str) -> None:
    plan = snn.run(built(BLOCKS[name]).eval(), given(name), explain=True).plan
    assert plan.layerwise and not plan.forced
    assert [row for row in plan.rows if "step by step" in row.how] == []


@every_block
def test_a_block_comes_back_from_a_file(name: str, tmp_path: Any) -> None:
    net, x = built(BLOCKS[name]).eval(), given(name)
    again = snn.load(snn.save(net, tmp_path / "net.safetensors"))
    assert repr(again) == repr(net)
    assert torch.equal(snn.run(again, x), snn.run(net, x))


def test_fit_trains_every_weight_of_a_small_transformer() -> None:
    x, y = torch.rand(24, 1, 4, 4), torch.arange(24) % 3
    net = nn.Sequential(
        blocks.patch_embedding(1, C, neuron, poolings=[True]),
        encoder(blocks.self_attention(C, 2, neuron)),
        blocks.TokenMean(),
        nn.Linear(C, 3),
        snn.Leaky(0.8, init_hidden=True, output=True),
    )
    before = copy.deepcopy(net.state_dict())
    snn.fit(net, (x, y, x, y), num_steps=3, epochs=1, batch_size=12, progress=False)
    changed = {name for name, value in net.state_dict().items() if not value.equal(before[name])}
    assert {name for name, _ in net.named_parameters() if name.endswith("weight")} <= changed


def test_a_batch_of_as_many_samples_as_steps_is_taken_for_a_batch() -> None:
    net = nn.Sequential(
        blocks.patch_embedding(1, C, neuron, poolings=[True]), blocks.token_mlp(C, neuron)
    )
    x = torch.rand(T, 1, 4, 4)
    assert snn.run(net, x, num_steps=T).shape == (T, T, 4, C)


def test_products_of_attention_are_named_as_not_counted() -> None:
    net = nn.Sequential(blocks.self_attention(C, 2, neuron), blocks.qk_attention(C, neuron))
    found = snn.doctor.cost(net, torch.rand(T, B, N, C))
    assert found.uncounted == ("products of signals in 0", "products of signals in 1")
    assert found.layers[0].path == "0.query.linear" and found.layers[0].analog == T * N * C * C


@pytest.mark.parametrize("name", ["sew", "ms"])
def test_a_residual_block_without_norm_is_written_as_nir(name: str) -> None:
    make = {"sew": blocks.sew_block, "ms": blocks.ms_block}[name]
    net = nn.Sequential(make(2, 4, neuron, stride=2, norm=None), neuron())
    x = given("sew").float()
    again = snn.nir.from_nir(snn.nir.to_nir(net, x[0]))
    assert torch.equal(snn.run(again, x), snn.run(net, x))


OF_NO_GRAPH: dict[str, tuple[Make, str]] = {
    "norm": (lambda: blocks.sew_block(2, 4, neuron), r"BatchNorm2d has no NIR node; fold it"),
    "TEBN": (OF_IMAGES["sew, TEBN"], r"TemporalEffectiveBatchNorm has no NIR node; NIR knows"),
    "product": (
        lambda: blocks.sew_block(2, 2, neuron, connect="and", norm=None),
        r"forward calls 'mul'|product of two signals",
    ),
    "attention": (
        lambda: blocks.self_attention(C, 2, neuron, norm=None),
        r"Linear 'query.linear': .* has no NIR node|forward calls '\w+', which has no NIR node",
    ),
}


@pytest.mark.parametrize("what", OF_NO_GRAPH)
def test_what_nir_cannot_hold_is_refused_by_name(what: str) -> None:
    make, text = OF_NO_GRAPH[what]
    with pytest.raises(ValueError, match=text):
        snn.nir.to_nir(
            make(), torch.rand(B, N, C) if what == "attention" else given("sew")[0].float()
        )


@pytest.mark.parametrize("name", ["sew", "self-attention"])
def test_conversion_of_a_spiking_block_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValueError, match="the network has spiking neurons already"):
        snn.conversion.convert(BLOCKS[name]().eval(), given(name)[0].float())


# -- the equations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connect", "expected"),
    [("add", [0, 1, 1, 2]), ("and", [0, 0, 0, 1]), ("iand", [0, 1, 0, 0])],
)
def test_each_connection_has_its_truth_table(connect: str, expected: list[int]) -> None:
    class Body(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([0.0, 0.0, 1.0, 1.0])

    shortcut = torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert blocks.Residual(Body(), connect=connect)(shortcut).tolist() == expected


class Sent(nn.Module):
    """Gives one part of its input, whatever else it holds."""

    def __init__(self, part: slice) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        return x[..., self.part]


def three(x: Tensor) -> list[Tensor]:
    return list(x.split(C, -1))


def spikes(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return (torch.rand(*shape, generator=generator) < 0.4).float()


def test_self_attention_is_the_product_of_queries_keys_and_values_of_each_head() -> None:
    heads, scale = 2, 0.25
    x = spikes(B, N, 3 * C + 1)[..., : 3 * C]
    parts = [Sent(slice(k * C, (k + 1) * C)) for k in range(3)]
    same = nn.Identity()
    ours = blocks.SelfAttention(*parts, same, same, heads, scale)(x)
    size = C // heads
    for b in range(B):
        q, k, v = three(x[b])
        for head in range(heads):
            of = slice(head * size, (head + 1) * size)
            expected = q[:, of] @ k[:, of].T @ v[:, of] * scale
            assert torch.equal(ours[b, :, of], expected)


def test_token_attention_chooses_tokens_by_the_spikes_of_their_query() -> None:
    heads = 2
    x = spikes(B, N, 2 * C)
    parts = [Sent(slice(k * C, (k + 1) * C)) for k in range(2)]
    fire = snn.Leaky(0.0, threshold=1.5, init_hidden=True)
    ours = blocks.QKAttention(*parts, fire, nn.Identity(), "tokens", heads)(x)
    size = C // heads
    for head in range(heads):
        of = slice(head * size, (head + 1) * size)
        q, k = x[..., :C][..., of], x[..., C:][..., of]
        chosen = (q.sum(-1, keepdim=True) > 1.5).float()
        assert torch.equal(ours[..., of], chosen * k) and 0 < chosen.mean() < 1


def test_channel_attention_chooses_channels_by_the_spikes_of_all_tokens() -> None:
    x = spikes(B, N, 2 * C)
    parts = [Sent(slice(k * C, (k + 1) * C)) for k in range(2)]
    fire = snn.Leaky(0.0, threshold=2.5, init_hidden=True)
    ours = blocks.QKAttention(*parts, fire, nn.Identity(), "channels")(x)
    q, k = x.split(C, -1)
    chosen = (q.sum(1, keepdim=True) > 2.5).float()
    assert torch.equal(ours, chosen * k) and 0 < chosen.mean() < 1


@pytest.mark.parametrize("name", list(OF_TOKENS))
def test_tokens_in_another_order_give_the_same_in_that_order(name: str) -> None:
    net, x = built(BLOCKS[name]).eval(), given(name)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(snn.run(net, x[:, :, order]), snn.run(net, x)[:, :, order])


def test_a_membrane_shortcut_adds_currents_to_its_input() -> None:
    block, x = built(OF_IMAGES["ms"]), given("ms")[0]
    first, conv1, norm1, second, conv2, norm2 = copy.deepcopy(block.body)
    expected = norm2(conv2(second(norm1(conv1(first(x)))))) + x
    torch.testing.assert_close(block(x), expected)


def test_sew_blocks_add_up_to_whole_numbers() -> None:
    net = nn.Sequential(*(blocks.sew_block(2, 2, neuron) for _ in range(3)))
    x = (given("sew") > 1).float()
    output = snn.run(net, x)
    assert set(output.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert output.max() > 1


def test_the_plan_of_vgg_gives_its_layers() -> None:
    net = blocks.vgg([4, "M", 6, "A"], 3, neuron)
    kinds = [type(layer).__name__ for layer in net]
    conv = ["Conv2d", "BatchNorm2d", "Leaky"]
    assert kinds == [*conv, "MaxPool2d", *conv, "AvgPool2d"]
    assert [layer.bias for layer in net if isinstance(layer, nn.Conv2d)] == [None, None]


@pytest.mark.parametrize("make", [snn.IF, snn.Synaptic, snn.AdLIF, snn.PLIF])
def test_a_block_takes_any_kind_of_neuron(make: Any) -> None:
    example = dict(make.example)

    def other() -> nn.Module:
        return make(**example, init_hidden=True)

    net, x = blocks.sew_block(2, 4, other).double(), given("sew")
    expected = loop(net, x)
    net.eval()
    net.train()
    torch.testing.assert_close(snn.run(net, x), expected)


# -- mistakes --------------------------------------------------------------------------------------

shared = neuron()
MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a neuron for a function": (
        lambda: blocks.sew_block(2, 2, neuron()),
        TypeError,
        r"neuron must be a function that makes one, got Leaky; write neuron=lambda: snn.Leaky",
    ),
    "the same neuron twice": (
        lambda: blocks.sew_block(2, 2, lambda: shared),
        ValueError,
        r"must return a new Leaky at each call, got the same one again",
    ),
    "a neuron that returns its state": (
        lambda: blocks.ms_block(2, 2, lambda: snn.Leaky(0.9)),
        ValueError,
        r"got a Leaky with init_hidden=False, output=False; write",
    ),
    "no neuron": (
        lambda: blocks.token_mlp(4, lambda: 3),
        TypeError,
        r"neuron\(\) must return a module, got int",
    ),
    "an unknown connection": (
        lambda: blocks.sew_block(2, 2, neuron, connect="ADD"),
        ValueError,
        r"connect must be one of 'add', 'and', 'iand', got 'ADD'",
    ),
    "no channels": (
        lambda: blocks.sew_block(0, 2, neuron),
        ValueError,
        r"in_channels must be in \[1, \d+\], got 0",
    ),
    "heads that do not divide": (
        lambda: blocks.self_attention(8, 3, neuron),
        ValueError,
        r"heads must divide dim, got heads=3 and dim=8; write dim=6",
    ),
    "an unknown choice": (
        lambda: blocks.qk_attention(8, neuron, over="heads"),
        ValueError,
        r"over must be one of 'tokens', 'channels', got 'heads'",
    ),
    "patches of odd size": (
        lambda: blocks.patch_embedding(1, 12, neuron),
        ValueError,
        r"dim must be a multiple of 8 for 4 stages.*got 12; write dim=8",
    ),
    "an empty plan": (lambda: blocks.vgg([], 1, neuron), TypeError, r"plan must be a list"),
    "an unknown pooling": (
        lambda: blocks.vgg([4, "P"], 1, neuron),
        ValueError,
        r"a pooling in plan must be one of 'M', 'A', got 'P'",
    ),
    "a class for a module": (
        lambda: blocks.encoder_block(blocks.SelfAttention, 8, neuron),  # pyright: ignore
        TypeError,
        r"attention must be a module, got type; write self_attention\(dim, heads, neuron\)",
    ),
    "images for tokens": (
        lambda: blocks.self_attention(8, 2, neuron)(torch.rand(2, 8, 4, 4)),
        ValueError,
        r"SelfAttention with heads=2 takes tokens \[B, N, C\] of one step.*\(2, 8, 4, 4\)",
    ),
    "another shape behind the shortcut": (
        lambda: blocks.Residual(nn.Linear(4, 3))(torch.rand(2, 4)),
        ValueError,
        r"Residual needs equal shapes, got \(2, 3\) from its body and \(2, 4\) from its shortcut",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_named(what: str) -> None:
    act, kind, text = MISTAKES[what]
    with pytest.raises(kind, match=text):
        act()
