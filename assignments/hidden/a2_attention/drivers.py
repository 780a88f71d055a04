"""Drivers: each runs where the student's code lives and must stand alone."""

from __future__ import annotations


def drive_softmax(student, jobs):
    """The weights of each (x, dim), and x afterwards."""
    answers = []
    for x, dim in jobs:
        x = x.clone()
        answers.append((student.softmax(x, dim), x))
    return answers


def drive_float16(student):
    """Whether torch itself can turn float16 into float32 here; in some jails it cannot."""
    import torch

    try:
        return float(torch.ones(1, dtype=torch.float16).float()) == 1.0
    except RuntimeError:
        return False


def drive_attention(student, jobs):
    """The result of each (Q, K, V, mask), and these four afterwards."""
    answers = []
    for job in jobs:
        Q, K, V, mask = (None if tensor is None else tensor.clone() for tensor in job)
        extra = () if mask is None else (mask,)
        answers.append((student.scaled_dot_product_attention(Q, K, V, *extra), [Q, K, V, mask]))
    return answers


def drive_lend(student, parts):
    """Put something that works in place of each part that a submission does not have; what was there is gone."""
    import torch

    def lent_softmax(input, dim=None, _stacklevel=3, dtype=None):
        import torch

        scores = input if dtype is None else input.to(dtype)
        peak = scores.detach().amax(dim, keepdim=True)
        powers = (scores - peak.masked_fill(peak == -torch.inf, 0)).exp()
        return (powers / powers.sum(dim, keepdim=True).clamp(min=1)).to(scores.dtype)

    if "softmax" in parts:
        student.softmax = lambda x, dim=-1: lent_softmax(x, dim)
    if "library" in parts:
        functional = torch.nn.functional.softmax
        if hasattr(functional, "__code__"):
            functional.__code__ = lent_softmax.__code__  # also where it was imported by name
        for owner in (torch, torch.special):
            owner.softmax = lent_softmax
        torch.Tensor.softmax = lent_softmax
    return True


def drive_module(student, d_model, heads, options, weights, calls):
    """The outputs of one module for several calls, the inputs afterwards, and what it gave to its slots.

    ``options["stand_ins"]`` names the slots to be filled; a call is a dict of the arguments of forward, in which a true
    ``cache`` stands for one cache that all the calls share, and which may begin with other ``weights`` or with the
    conversion of module and x to another ``dtype``. With ``options["factor"]`` there is one call, and the gradients of
    the weighted sum of its output for x and for each of the weights. ``options["marks"]`` is what "marked" does to the
    result of attention. ``options["by_head"]``: a weight that holds queries, keys and values holds them head by head.
    ``options["short"]``: everything in float32.
    """
    import torch

    seen = {"attend": [], "norm": [], "rope": [], "cache": []}

    class NoProjection(Exception):
        pass

    class WrongShape(Exception):
        pass

    class PositionsDoNotBroadcast(Exception):
        pass

    class NoPositions(Exception):
        pass

    class RopeExchanged(Exception):
        pass

    class RopeOtherTokens(Exception):
        pass

    def attend(Q, K, V, mask=None):
        seen["attend"].append((list(Q.shape), list(K.shape), list(V.shape), None if mask is None else str(mask.dtype)))
        if K.shape[1] != Q.shape[1]:
            K, V = (z.repeat_interleave(Q.shape[1] // z.shape[1], 1) for z in (K, V))
        scores = Q @ K.transpose(-1, -2) * Q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        peak = scores.detach().amax(-1, keepdim=True)
        powers = torch.exp(scores - peak.masked_fill(peak == -torch.inf, 0))
        return powers / powers.sum(-1, keepdim=True).clamp(min=1) @ V

    def marked(Q, K, V, mask=None):
        return marks[0] * attend(Q, K, V, mask) + marks[1]

    class Rope(torch.nn.Module):
        def forward(self, x, token_positions=None):
            if token_positions is None:
                raise NoPositions
            if token_positions.is_floating_point() and not x.is_floating_point():
                raise RopeExchanged
            if x.ndim > 1 and token_positions.ndim > 0 and token_positions.shape[-1] not in (1, x.shape[-2]):
                raise RopeOtherTokens
            try:
                at = token_positions.broadcast_to(x.shape[:-1])
            except RuntimeError:
                raise PositionsDoNotBroadcast from None
            seen["rope"].append(at.clone())
            steps = at.to(x.dtype).unsqueeze(-1)
            ramp = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
            return x * (1 + 0.3 * steps) + 0.4 * steps * ramp

    class Norm(torch.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(size, dtype=kind))
            own.append(self.weight)

        def forward(self, x):
            seen["norm"].append(list(x.shape))
            return x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * self.weight

    class Cache:
        def __init__(self):
            self.k = self.v = None

        @property
        def length(self):
            return 0 if self.k is None else self.k.shape[2]

        def update(self, k, v):
            seen["cache"].append((k.detach().clone(), v.detach().clone()))
            self.k = k if self.k is None else torch.cat([self.k, k], 2)
            self.v = v if self.v is None else torch.cat([self.v, v], 2)
            return self.k, self.v

    made, own = [], []

    def qk_norm(size):
        made.append(int(size))
        return Norm(size)

    options = dict(options)
    stand_ins, marks = options.pop("stand_ins"), options.pop("marks", (1, 0))
    factor, by_head = options.pop("factor", None), options.pop("by_head", False)
    kind = torch.float32 if options.pop("short", False) else torch.float64
    slots = {"attend": attend, "marked": marked, "rope": Rope(), "qk_norm": qk_norm}
    slots["own"] = getattr(student, "scaled_dot_product_attention", None)
    for name in stand_ins:
        options["attend" if name in ("marked", "own") else name] = slots[name]
    module = student.MultiHeadAttention(d_model, heads, **options)

    def role(name):
        """Which projection a parameter's name speaks of: some of the letters q, k, v and o."""
        parts = [part for part in name.lower().split(".") if part not in ("weight", "bias") and not part.isdigit()]
        bare = parts[-1] if parts else ""
        for word in ("projection", "proj", "weights", "weight", "linear", "layer", "attn", "to_", "w", "_", "bias"):
            bare = bare.replace(word, "")
        known = {"query": "q", "queries": "q", "key": "k", "keys": "k", "value": "v", "values": "v"}
        known |= {"out": "o", "output": "o", "": "o", "qkv": "qkv", "kv": "kv", "c": "qkv" if "attn" in name else "o"}
        known |= {"in": "qkv"}
        return known.get(bare, bare if bare in ("q", "k", "v", "o") else "")

    def pieces_of(tensors, blocks):
        """Where the rows of each block stand: (tensor, row there, row in the block, count), one tensor after another."""
        found = {name: [] for name, _ in blocks}
        if len(tensors) == 1 and len(blocks) == 3 and by_head:
            size = blocks[0][1] // heads
            for i in range(3 * heads):
                found[blocks[i % 3][0]].append((tensors[0], i * size, i // 3 * size, size))
            return found
        for name, count in blocks:
            filled = 0
            while filled < count:
                tensor, at = next(((t, used[id(t)]) for t in tensors if used[id(t)] < len(t)), (None, 0))
                if tensor is None:
                    raise WrongShape
                step = min(count - filled, len(tensor) - at)
                found[name].append((tensor, at, filled, step))
                used[id(tensor)], filled = at + step, filled + step
        return found

    used = {}

    def places_of(kind_of, ndim):
        """Where the weights (or the biases) are, under whatever names: see `pieces_of`."""
        sizes = {n.split("_")[0]: len(v) for n, v in weights.items() if n.endswith(kind_of)}
        others = [(n, p) for n, p in module.named_parameters() if p.ndim == ndim and all(p is not o for o in own)]
        used.update({id(p): 0 for _, p in others})
        by_role = {}
        for name, parameter in others:
            by_role.setdefault(role(name), []).append(parameter)
        if set(by_role) == {"q", "k", "v", "o"}:
            groups = [(by_role[letter], letter) for letter in "qkvo"]
        elif set(by_role) == {"qkv", "o"} or len(others) == 2:
            groups = [([others[0][1]], "qkv"), ([others[-1][1]], "o")]
        elif set(by_role) == {"q", "kv", "o"} or len(others) == 3:
            groups = [([others[0][1]], "q"), ([others[1][1]], "kv"), ([others[-1][1]], "o")]
        elif len(others) == 4:
            groups = [([parameter], letter) for (_, parameter), letter in zip(others, "qkvo", strict=True)]
        else:
            raise NoProjection
        places = {}
        for tensors, letters in groups:
            found = pieces_of(tensors, [(letter, sizes[letter]) for letter in letters])
            places.update({f"{letter}_proj.{kind_of}": pieces for letter, pieces in found.items()})
        return places

    def place(name):
        projection, kind_of = name.split(".")
        owner = getattr(module, projection, None)
        if owner is not None:
            tensor = getattr(owner, kind_of, owner)
            if not isinstance(tensor, torch.Tensor) or list(tensor.shape) != list(weights[name].shape):
                raise WrongShape
            return [(tensor, 0, 0, len(tensor))]
        if not hasattr(module, "named_parameters"):
            raise NoProjection
        return places_of(kind_of, weights[name].ndim)[name]

    def fill(values):
        for name, value in values.items():
            for tensor, at, start, count in placed[name]:
                if list(tensor.shape[1:]) != list(value.shape[1:]):
                    raise WrongShape
                new = tensor.data.to(kind).clone()
                new[at : at + count] = value[start : start + count]
                tensor.data = new

    def slope_of(name):
        parts = [(start, tensor.grad, at, count) for tensor, at, start, count in placed[name]]
        if any(gradient is None for _, gradient, _, _ in parts):
            return None
        return torch.cat([gradient[at : at + count] for _, gradient, at, count in sorted(parts, key=lambda p: p[0])])

    placed = {name: place(name) for name in weights}
    if factor is not None:
        for pieces in placed.values():
            for tensor, *_ in pieces:
                tensor.requires_grad_()
    taken = {id(tensor) for pieces in placed.values() for tensor, *_ in pieces}
    fill(weights)
    for _, parameter in module.named_parameters() if hasattr(module, "named_parameters") else ():
        if id(parameter) not in taken and all(parameter is not one for one in own):
            parameter.data = parameter.data.to(kind) * 0 if parameter.ndim == 1 else parameter.data.to(kind)
    cache, outputs, inputs, gradients = Cache(), [], [], None
    for call in calls:
        arguments = dict(call)
        x = arguments.pop("x").clone().to(kind)
        fill(arguments.pop("weights", {}))
        if "dtype" in arguments:
            dtype = getattr(torch, arguments.pop("dtype"))
            module.to(dtype)
            x = x.to(dtype)
        if "context" in arguments:
            arguments["context"] = arguments["context"].to(x.dtype)
        if factor is not None:
            x.requires_grad_()
        if arguments.get("cache"):
            arguments["cache"] = cache
        outputs.append(module(x, **arguments) if callable(module) else module.forward(x, **arguments))
        inputs.append(x)
    if factor is not None:
        total = (outputs[0] * factor.to(outputs[0].dtype)).sum()
        if total.requires_grad:
            total.backward()
            gradients = [None if x.grad is None else x.grad.double()]
            gradients += [None if slope is None else slope.double() for slope in map(slope_of, weights)]
        outputs, inputs = [out.detach() for out in outputs], []
    registered = [p for _, p in module.named_parameters()] if hasattr(module, "named_parameters") else []
    norms = sum(any(p is one for one in own) for p in registered)
    fused = any(len(tensor) > count for name in weights for tensor, _, _, count in placed[name])
    found = {"norms": norms, "fused": fused, "made": made}
    return {"out": outputs, "after": inputs, "gradients": gradients, **found, **seen}
