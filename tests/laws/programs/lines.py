"""The single lines that programs are made of, by what they do.

``h`` is the input of a layer, [B, H]; ``o`` the spikes of its neuron; ``mem`` the first field of
that neuron's state; ``t`` the number of the step; ``feedback`` the output of the step before.
"""

__all__ = ["AFTER", "BEFORE", "ENDS", "KEEP_GRAPHS", "LOOPS", "ONLINE", "RESULTS"]

BEFORE = {
    "nothing": [""],
    "pure": [
        "h = h * 2 - 0.1",
        "h = h + self.bias",
        "h = torch.relu(h)",
        "h = h * (h > 0)",
        "h = torch.where(h > 0.2, h, h * 0.1)",
        "h = h @ self.weight",
        "h = h @ (self.weight * self.weight.abs())",
        "h = torch.einsum('bi,ij->bj', h, self.weight)",
        "h = h - h.mean(0)",
        "h = h.masked_fill(h > 1, 0.5)",
        "h = F.normalize(h, dim=1)",
        "h = h + h.max(1, keepdim=True)[0]",
        "h = torch.stack([h, h * 2]).mean(0)",
        "h = h * h.new_ones(H)",
        "h = F.layer_norm(h, (H,))",
        "h = h.softmax(1) * 2",
        "h = F.pad(h, (1, 0))[:, :-1] + h",
        "h = F.pad(h, (0, 0, 1, 0))[1:] * 1.1",
        "h = h.cumsum(0) * 0.5",
        "h = torch.addmm(self.bias, h, self.weight)",
    ],
    "shapes": [
        "h = h.view(B, 1, H).squeeze(1)",
        "h = h.flatten(1) + h.sum(1, keepdim=True)",
        "h = h[:, self.perm]",
        "h = torch.cat([h[:, 1:], h[:, :1]], 1)",
        "h = h.t().contiguous().t()",
        "h = h.unsqueeze(0).expand(2, B, H).sum(0)",
        "first, second = h.chunk(2, 1)\nh = torch.cat([second, first], 1)",
        "h = h.index_select(1, torch.tensor([4, 3, 2, 1, 0]))",
        "h = h.roll(1, 1)",
        "h = h.reshape(-1).view(B, H)",
        "h = h.float().to(h.dtype)",
        "h = h.movedim(0, 1).movedim(1, 0) * 0.9",
    ],
    "in place": [
        "h = h * 1.5\nh += 0.1",
        "h = h.clone().mul_(1.5)",
        "h = F.relu(h + 0.1, inplace=True)",
        "h = h + 0.0\nh[:, 0] = 0",
        "h = h.clamp(-1, 1).add(0.1).mul_(2)",
        "row = h[0]\nh = h + row\nrow = row * 2",
        "h = h * 1.0\nrow = h[0]\nrow += 1",
        "h = h.to(h.dtype) * 1.0\nh *= 0.9",
        "h = h - 0.1\nview = h.view(-1)\nview += 0.2",
        "h = h * 1.0\nh.clamp_(min=0.05)",
        "base = h + 0.0\nh = base[:, :]\nbase.add_(0.5)",
    ],
    "random": [
        "h = h + torch.rand(B, H, dtype=h.dtype)",
        "h = h + torch.randn_like(h) * 0.1",
        "h = (torch.rand_like(h) < h.sigmoid().detach()).to(h.dtype) + 0 * h",
        "h = h + self.random.gauss(0, 0.1)",
        "h = h + torch.randn(B, H, generator=self.generator).to(h.dtype) * 0.1",
        "h = h + self.numpy_random.normal() * 0.1",
        "h = torch.from_numpy(self.noise()).to(h.dtype) + h",
        "h = F.dropout(h, 0.3, self.training)",
        "h = h + F.scaled_dot_product_attention(h[None], h[None], h[None], dropout_p=0.5)[0] * 0.2",
        "h = h + torch.bernoulli(torch.full_like(h, 0.5)) * 0.2",
        "h = h + torch.empty_like(h).uniform_(0, 0.2)",
    ],
    "modes": [
        "with torch.no_grad():\n    h = h * 1.1",
        "with torch.no_grad():\n    frozen = self.encoder(h)\nh = h + frozen",
        "with torch.set_grad_enabled(t % 2 == 0 and torch.is_grad_enabled()):\n    h = h * "
        "self.weight.sum()",
        "with torch.autocast('cpu', torch.bfloat16):\n"
        "    half = F.linear(h.float(), self.weight.float())\n"
        "self.log(half.dtype)\n"
        "h = h + half.to(h.dtype) * 0",
        "with torch.autocast('cpu', torch.bfloat16, enabled=False):\n    h = h * 1.2",
        "h = h.detach() + h * 0.5",
        "h = frozen_gain(h)",
    ],
    "state across steps": [
        "h = h * (self.clock <= 3)",
        "h = h * self.clock",
        "h = h * self.schedule[t]",
        "h = h + self.previous\nself.previous = h.detach() * 0.5",
        "h = h - self.lag\nself.lag = h.detach()",
        "h = h * self.config['gain']\nself.config['gain'] *= 0.9",
        "h = h * torch.tensor(1.0 + t)",
        "h = h + next(self.counter) * 0.05",
        "self.plain.value += 1\nh = h * self.plain.value",
        "self.nested['deep'][0] += 0.1\nh = h + self.nested['deep'][0]",
        "self.array_state[0] += 0.1\nh = h + float(self.array_state[0])",
    ],
    # torch itself takes later statistics for the gradient of a batch norm that is switched to
    # evaluation
    "modules": [
        "h = self.norm(h) + self.norm.running_mean",
        "self.norm.train(t % 2 == 0)\nh = h + self.norm(h.detach()).detach()",
        "self.training = t < 2\nh = F.dropout(h, 0.5, self.training)",
        "h = nn.Linear(H, H).to(h.dtype)(h)",
        "h = h * nn.Parameter(torch.full((H,), 1.1, dtype=h.dtype))",
        "self.cell_state = self.cell(h, self.cell_state)\nh = h + self.cell_state[0]",
        "h = torch.func.functional_call(self.encoder, {'weight': self.weight}, (h,))",
        "torch.manual_seed(3)\nh = h + torch.rand_like(h)",
        "with torch.random.fork_rng():\n    h = h + torch.rand(B, H).to(h.dtype)",
        "with torch.autograd.graph.saved_tensors_hooks(lambda v: v * 1.0, lambda v: v):\n    h = "
        "h * self.weight[0]",
        "self.encoder.weight.data = F.normalize(self.encoder.weight.data, dim=1)\nh = "
        "self.encoder(h)",
        "self.encoder.requires_grad_(t % 2 == 0)\nh = self.encoder(h)",
    ],
    "indices": [
        "value, index = h.topk(2, 1)\nh = h + torch.zeros_like(h).scatter(1, index, value)",
        "h = h[:, h.detach().mean(0) > -99]",
        "best = h.detach().sum(0).argmax()\nh = h + h[:, best].unsqueeze(1)",
        "one, *others = h.t()\nh = torch.stack([one + others[0], *others], 1)",
        "h = h + F.one_hot(h.detach().argmax(1), H).to(h.dtype)",
        "h = h * (h.cumsum(1) <= 2)",
        "h = h + len(h.detach().nonzero()) * 0.01",
        "h = torch.where((h > 0.1) & (h < 2) | ~(h == 0), h, 0.3)",
        "h = h.detach() // 0.7 * 0.1 + abs(h) % 0.9 + (1 - h) ** 2",
        "h = h.sort(1)[0].gather(1, self.perm.expand(B, H))",
    ],
    "values": [
        "h = h / (1 + h.detach().abs().mean())",
        "h = h * 0.5 if h.detach().mean() > 0.5 else h",
        "h = h / 10 if isinstance(h, torch.Tensor) else h * 5",
        "h = h * 2 if torch.is_tensor(h) else h",
        "h = h + len(h) * 0.01 + h.shape[1] * 0.01",
        "try:\n    h = h @ h\nexcept RuntimeError:\n    h = h * 0.7",
        "h = surrogate(h - 0.2) + h * 0.1",
        "h = torch.vmap(lambda row: row * 2 + 1)(h)",
        "h = checkpointed(h)",
        "h = h * h.detach().numpy().max()",
    ],
}

AFTER = {
    "nothing": [""],
    "pure": ["o = o * 1.1", "o = o + h * 0.05", "o = o.view(B, H) + 0.1"],
    "records": [
        "self.records['spk'].append(o.detach())",
        "self.last_spikes = o.detach()",
        "self.copies.append(copy.deepcopy(o.detach()))",
        "self.records.setdefault('mem', []).append(mem.detach())",
        "self.arrays.append(o.detach().numpy().copy())",
        "self.numbers.append(float(o.detach().max()))",
        "self.log(o.shape, o.dtype, o.requires_grad, isinstance(o, torch.Tensor), o.dim())",
        "self.log(mem.is_leaf, o.device.type, o.numel(), o.is_floating_point())",
        "self.log(str(o.detach().sum().item() > 1))",
        "self.rows.append(o.detach()[0])",
    ],
    "buffers": [
        "self.count += 1",
        "self.clock += 1",
        "self.number = self.number + 1",
        "self.activity += o.detach().sum()",
        "self.trace.mul_(0.5).add_(o.detach().mean())",
        "self.written[t] = o.detach()",
        "self.seen[t] = o.detach().sum()",
        "self.copied.copy_(o.detach())",
        "self.average = self.average * 0.9 + o.detach() * 0.1",
        "self.peak = torch.maximum(self.peak, o.detach())",
        "self.moving = self.moving.lerp(o.detach(), 0.1)",
        "self.total += o.detach()",
        "self.accumulated = o.detach() if self.accumulated is None else self.accumulated + "
        "o.detach()",
    ],
    "decisions": [
        "o = o * 2 if o.detach().sum() > 3 else o",
        "o = o + mem.detach() * 0.1",
        "self.flag = bool((o.detach() > 0).any())",
        "if mem.detach().mean() > 0.2:\n    o = o * 1.5",
        "shown(o)",
        "o = o + neuron.threshold.detach() * 0.1",
        "if t == 2:\n    self.reset_first()",
        "self.refractory = torch.where(o.detach() > 0, float(t), self.refractory)\no = o * "
        "(self.refractory < 3)",
        "self.delays.append(o.detach())\no = o + self.delays[0]",
        "self.big = max(self.big, o.detach().sum())",
    ],
    "in place": [
        "o = o * 1.0\no.mul_(1.5)",
        "o = o.view(B, H) + 0\no.add_(0.25)",
        "o = o + 0.0\no[o > 0] = 0.7",
        "self.rows.append(o.detach().view(-1))\no = o + 1",
        "self.last_mem = mem.detach() + 0\nself.last_mem += 1",
        "late = o * 1.0\nself.rows.append(late.detach()[0])\nlate += 1\no = o + late * 0.1",
        "neuron.threshold.data.mul_(1.01)",
        "with torch.no_grad():\n    self.weight += 1e-3 * torch.einsum('bi,bj->ij', o.detach(), "
        "h.detach())\n"
        "o = o.detach()\nself.cut()",
        "self.weight.data.mul_(1.01)",
    ],
}
AFTER[
    "graph"
] = [  # keeps a value with its graph beyond the step; not where the graph is freed inside the loop
    "self.records['spk'].append(o)",
    "self.window.append(o)",
    "self.total = self.total + o",
    "self.last_spikes = o",
    "self.rows.append(o[0])",
    "self.losses = self.losses + o.pow(2).sum()",
    "self.each.append(F.mse_loss(o, torch.full_like(o, 0.5)))",
    "o = o + (self.window[-1] if self.window else 0)",
    "o = o + (torch.stack(list(self.window)).mean(0) if self.window else 0)",
    "self.records.setdefault('mem', []).append(mem)",
    "self.shallow = copy.copy(self.records['spk'])",
    "if o.requires_grad:\n    o.register_hook(lambda gradient: gradient * 0.5)",
]
KEEP_GRAPHS = frozenset(AFTER["graph"])

LOOPS = [  # what comes before the loop, its header, the first line of its body
    ("", "for t in range(T):", "h = x[t]"),
    ("", "for t, h in enumerate(x):", ""),
    ("", "for t, h in enumerate(x.unbind(0)):", ""),
    ("", "for t in reversed(range(T)):", "h = x[t]"),
    ("", "for t in range(T):", "h = x[0]"),
    ("", "for t in range(T):", "h = x.permute(1, 0, 2)[:, t]"),
    ("", "for t, h in enumerate(x.permute(1, 0, 2).unbind(1)):", ""),
    ("xs = x * 1.1 + self.bias", "for t in range(T):", "h = xs[t]"),
    ("", "for t in range(T):", "h = x[t, :, :]"),
    ("", "for t in range(T):", "h = x[-t]"),
    ("", "for t, h in zip(range(T), x):", ""),
    ("static = x.mean(0)", "for t in range(T):", "h = static"),
    ("", "for t in range(T):", "h = x[0].view(B, H)"),
    ("", "for t in (0, 2, 1, 4, 4):", "h = x[t]"),
    ("", "for t, h in enumerate(x.split(1)):", "h = h[0]"),
    ("t = -1", "while t < T - 1:", "t += 1\nh = x[t]"),
    ("xs = torch.flip(x, [0])", "for t, h in enumerate(xs):", ""),
]
ENDS = [
    "",
    "",
    "",
    "if o.detach().sum() < -1:\n    break",
    "if t == 3:\n    break",
    "if float(self.total.detach().sum()) > 40:\n    break",
    "if self.clock > 4:\n    break",
]
_CUT = """
self.cut()
states = [[value.detach() for value in state] for state in states]
o = o.detach()
"""
_LOSS = "loss = o.pow(2).sum()\nif loss.requires_grad:\n    loss.backward()\n"
ONLINE = {
    "none": "",
    "backward": _LOSS + _CUT,
    "backward and update": _LOSS + "    self.learn()\n" + _CUT,
    "backward and optimizer": _LOSS
    + "    self.optimizer.step()\n    self.optimizer.zero_grad()\n"
    + _CUT,
    "gradient": "if o.requires_grad:\n"
    "    gradient, = torch.autograd.grad(o.pow(2).sum(), self.weight, retain_graph=True, "
    "allow_unused=True)\n"
    "    o = o if gradient is None else o + gradient.sum() * 1e-3\n",
}
RESULTS = [
    "torch.stack(out)",
    "torch.stack(out), torch.stack(mems)",
    "sum(out)",
    "torch.stack(out).sum(0)",
    "out",
    "out[-1]",
    "{'spk': torch.stack(out, 1), 'mem': mems[-1]}",
    "torch.cat(out, 0)",
    "torch.stack(out).max(0)[0]",
    "(out[0], out[-1], self.total)",
    "F.cross_entropy(torch.stack(out).mean(0), torch.zeros(B, dtype=torch.long))",
    "self.losses + torch.stack(out).mean()",
    "Result(torch.stack(out), mems)",
]
