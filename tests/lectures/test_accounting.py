"""The module that appendix 02x builds: FLOPs against PyTorch's counter, bytes against what is allocated, published sizes.

The models here are written plainly and apart from the course's own, so that an error of one is not an error of both.
"""

import doctest
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

import cs336lite.accounting as module
from cs336lite import costs
from cs336lite.accounting import (
    Flops,
    Memory,
    ModelShape,
    activation_bytes,
    active_parameters,
    backward_flops,
    counted_flops,
    forward_flops,
    kv_cache_bytes,
    matmul_flops,
    matmul_intensity,
    mfu,
    parameters,
    roofline,
    saved_bytes,
    six_nd,
    storage_bytes,
    training_days,
    training_flops,
    training_memory,
    weights,
)

BATCH = 3


class Attention(nn.Module):
    """Queries from x, keys and values from y; ``fused`` takes PyTorch's own kernel."""

    def __init__(self, s: ModelShape, bias=False, qkv_bias=False, fused=False, qk_norm=None, across=False):
        super().__init__()
        self.across = across
        self.heads, self.head = s.num_heads, s.d_head or s.d_model // s.num_heads
        self.kv_heads, self.fused = s.num_kv_heads or s.num_heads, fused
        self.q = nn.Linear(s.d_model, self.heads * self.head, bias or qkv_bias)
        self.k = nn.Linear(s.d_model, self.kv_heads * self.head, bias or qkv_bias)
        self.v = nn.Linear(s.d_model, self.kv_heads * self.head, bias or qkv_bias)
        self.o = nn.Linear(self.heads * self.head, s.d_model, bias)
        sizes = [n * self.head if across else self.head for n in (self.heads, self.kv_heads)]
        self.q_norm, self.k_norm = map(qk_norm, sizes) if qk_norm else (nn.Identity(),) * 2

    def forward(self, x, y=None, mask=None, cache=None):
        y = x if y is None else y
        q = self.q(x).unflatten(-1, (self.heads, self.head)).transpose(1, 2)
        k = self.k(y).unflatten(-1, (self.kv_heads, self.head)).transpose(1, 2)
        v = self.v(y).unflatten(-1, (self.kv_heads, self.head)).transpose(1, 2)
        q, k = (
            norm(t.transpose(1, 2).flatten(2)).view_as(t.transpose(1, 2)).transpose(1, 2) if self.across else norm(t)
            for norm, t in ((self.q_norm, q), (self.k_norm, k))
        )
        if cache is not None:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        if self.heads != self.kv_heads:
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
        if self.fused:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-2, -1) / self.head**0.5
            out = (scores if mask is None else scores.masked_fill(mask, -torch.inf)).softmax(-1) @ v
        return self.o(out.transpose(1, 2).flatten(2))


class TwoMatrices(nn.Module):
    def __init__(self, s: ModelShape, bias: bool):
        super().__init__()
        self.up, self.down = nn.Linear(s.d_model, s.d_ff, bias), nn.Linear(s.d_ff, s.d_model, bias)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class Gated(nn.Module):
    def __init__(self, s: ModelShape):
        super().__init__()
        self.gate, self.up = nn.Linear(s.d_model, s.d_ff, False), nn.Linear(s.d_model, s.d_ff, False)
        self.down = nn.Linear(s.d_ff, s.d_model, False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Experts(nn.Module):
    """Each token through its top k experts, expert by expert."""

    def __init__(self, s: ModelShape):
        super().__init__()
        self.router, self.top_k = nn.Linear(s.d_model, s.num_experts, False), s.top_k
        self.experts = nn.ModuleList(Gated(s) for _ in range(s.num_experts))

    def forward(self, x):
        flat = x.flatten(0, 1)
        gates, chosen = self.router(flat).softmax(-1).topk(self.top_k)
        out = torch.zeros_like(flat)
        for i, expert in enumerate(self.experts):
            token, slot = (chosen == i).nonzero(as_tuple=True)
            if len(token):
                out = out.index_add(0, token, expert(flat[token]) * gates[token, slot, None])
        return out.view_as(x)


class Block(nn.Module):
    """Pre-norm. With ``parallel``, one norm for attention and feed-forward, which run side by side."""

    def __init__(self, s, norm, feed_forward, *, parallel=False, cross=False, **options):
        super().__init__()
        self.attention, self.feed_forward = Attention(s, **options), feed_forward
        self.norm1, self.norm2 = norm(s.d_model), None if parallel else norm(s.d_model)
        if cross:
            self.norm3, self.cross = norm(s.d_model), Attention(s, **options)

    def forward(self, x, mask=None, source=None, cache=None):
        normed = self.norm1(x)
        attended = self.attention(normed, mask=mask, cache=cache)
        if self.norm2 is None:
            return x + attended + self.feed_forward(normed)
        x = x + attended
        if source is not None:
            x = x + self.cross(self.norm3(x), source)
        return x + self.feed_forward(self.norm2(x))


class Decoder(nn.Module):
    """Ids to the mean loss of predicting the same ids: only the cost matters."""

    def __init__(self, s, block, norm, *, tied, positions=False, recompute=False):
        super().__init__()
        self.embedding, self.recompute = nn.Embedding(s.vocab_size, s.d_model), recompute
        self.positions = nn.Parameter(torch.randn(s.context_length, s.d_model)) if positions else None
        self.blocks, self.norm = nn.ModuleList(block() for _ in range(s.num_layers)), norm(s.d_model)
        self.output = nn.Linear(s.d_model, s.vocab_size, False)
        if tied:
            self.output.weight = self.embedding.weight
        self.register_buffer("mask", torch.ones(s.context_length, s.context_length).triu(1).bool())

    def logits(self, ids, source=None, caches=None):
        seq = ids.shape[1]
        x = self.embedding(ids)
        x = x if self.positions is None else x + self.positions[:seq]
        mask = self.mask[:seq, :seq] if seq > 1 else None
        for i, block in enumerate(self.blocks):
            if self.recompute:
                x = checkpoint(block, x, mask, use_reentrant=False)
            else:
                x = block(x, mask, source, caches[i] if caches else None)
        return self.output(self.norm(x))

    def forward(self, ids, source=None):
        return F.cross_entropy(self.logits(ids, source).flatten(0, 1), ids.flatten())


class EncoderDecoder(nn.Module):
    def __init__(self, s, encoder_block, decoder_block, norm):
        super().__init__()
        self.encoder = nn.ModuleList(encoder_block() for _ in range(s.num_encoder_layers))
        self.norm = norm(s.d_model)
        self.decoder = Decoder(s, decoder_block, norm, tied=True)

    def encode(self, source_ids):
        x = self.decoder.embedding(source_ids)
        for block in self.encoder:
            x = block(x)
        return self.norm(x)

    def forward(self, ids, source_ids):
        return self.decoder(ids, self.encode(source_ids))


SIZES = {"vocab_size": 37, "context_length": 12, "d_model": 24, "num_layers": 3, "num_heads": 4, "d_ff": 40}
SHAPES = {
    "gpt": ModelShape(**SIZES, bias=True, tied_embeddings=True, position_parameters=12 * 24),
    "llama": ModelShape(**SIZES, num_kv_heads=2, glu=True),
    "palm": ModelShape(**SIZES, num_kv_heads=1, d_head=10, glu=True, norms_per_block=1, tied_embeddings=True),
    "qwen": ModelShape(**SIZES, num_kv_heads=2, d_head=8, glu=True, qkv_bias=True, qk_norm=True),
    "olmo2": ModelShape(**SIZES, num_kv_heads=2, glu=True, qk_norm=True, qk_norm_across_heads=True),
    "experts": ModelShape(**SIZES, num_kv_heads=2, glu=True, num_experts=5, top_k=2),
    "encoder-decoder": ModelShape(**SIZES, bias=True, tied_embeddings=True, num_encoder_layers=2),
}


def make(name: str, **options) -> nn.Module:
    """A model of the shape of this name; ``recompute`` and ``fused`` as options."""
    torch.manual_seed(0)
    s, fused = SHAPES[name], options.pop("fused", False)
    ln, rms = nn.LayerNorm, nn.RMSNorm
    if name == "gpt":
        return Decoder(
            s,
            lambda: Block(s, ln, TwoMatrices(s, True), bias=True, fused=fused),
            ln,
            tied=True,
            positions=True,
            **options,
        )
    if name == "encoder-decoder":
        blocks = [lambda c=c: Block(s, ln, TwoMatrices(s, True), bias=True, cross=c) for c in (False, True)]
        return EncoderDecoder(s, *blocks, ln)
    block = {
        "llama": lambda: Block(s, rms, Gated(s), fused=fused),
        "palm": lambda: Block(s, rms, Gated(s), parallel=True),
        "qwen": lambda: Block(s, rms, Gated(s), qkv_bias=True, qk_norm=rms),
        "olmo2": lambda: Block(s, rms, Gated(s), qk_norm=rms, across=True),
        "experts": lambda: Block(s, rms, Experts(s)),
    }[name]
    return Decoder(s, block, rms, tied=name == "palm", **options)


def inputs(name: str, seq: int = 9) -> tuple[list[torch.Tensor], dict]:
    """Ids for a model, and the lengths that predict its cost. The source of an encoder is longer than the target."""
    ids = torch.randint(37, (BATCH, seq), generator=torch.Generator().manual_seed(1))
    if name != "encoder-decoder":
        return [ids], {"batch": BATCH, "seq": seq}
    return [ids, torch.randint(37, (BATCH, 14))], {"batch": BATCH, "seq": seq, "source_seq": 14}


BUILT = {costs: "notebooks/02_tensors.ipynb", module: "notebooks/appendix/02x_shapes.ipynb"}


@pytest.mark.parametrize(("built", "least"), [(costs, 9), (module, 9)], ids=["costs", "accounting"])
def test_examples_in_docstrings(built, least):
    result = doctest.testmod(built)
    assert result.attempted >= least
    assert result.failed == 0


@pytest.mark.parametrize("built", BUILT, ids=["costs", "accounting"])
def test_everything_public_is_documented_and_says_where_it_was_built(built):
    for name, value in vars(built).items():
        if getattr(value, "__module__", None) == built.__name__ and not name.startswith("_"):
            assert f"Built in {BUILT[built]}." in value.__doc__, name


def test_accounting_hands_on_what_lecture_02_built():
    for name, value in vars(costs).items():
        if getattr(value, "__module__", None) == costs.__name__ and not name.startswith("_"):
            assert getattr(module, name) is value, name


# ------------------------------------------------------------------------------------------------------------ parameters


@pytest.mark.parametrize("name", SHAPES)
def test_every_tensor_of_a_model_is_in_the_list_and_no_other(name):
    listed = [weight.shape for weight in weights(SHAPES[name]) for _ in range(weight.stored)]
    built = [tuple(p.shape) for p in make(name).parameters()]
    flat = 12 * 24 if name == "gpt" else None  # the list has position tables as so many numbers
    built = [(flat,) if shape == (12, 24) and flat else shape for shape in built]
    assert sorted(listed) == sorted(built)
    assert parameters(make(name)) == parameters(SHAPES[name]) == sum(p.numel() for p in make(name).parameters())


def gpt2(d_model: int, num_layers: int, num_heads: int) -> ModelShape:
    return ModelShape(
        vocab_size=50_257, context_length=1_024, d_model=d_model, num_layers=num_layers, num_heads=num_heads,
        d_ff=4 * d_model, bias=True, tied_embeddings=True, position_parameters=1_024 * d_model,
    )  # fmt: skip


def llama(d_model: int, num_layers: int, num_heads: int, d_ff: int, **other) -> ModelShape:
    return ModelShape(
        **{"vocab_size": 32_000, "context_length": 2_048, "glu": True, **other},
        d_model=d_model, num_layers=num_layers, num_heads=num_heads, d_ff=d_ff,
    )  # fmt: skip


T5 = {"vocab_size": 32_128, "context_length": 512, "tied_embeddings": True}
MIXTRAL = llama(4_096, 32, 32, 14_336, num_kv_heads=8, num_experts=8, top_k=2)
PUBLISHED = {
    # OpenAI's checkpoints, named 124M, 355M, 774M and 1558M (github.com/openai/gpt-2)
    "GPT-2 small": (gpt2(768, 12, 12), 124_439_808),
    "GPT-2 medium": (gpt2(1_024, 24, 16), 354_823_168),
    "GPT-2 large": (gpt2(1_280, 36, 20), 774_030_080),
    "GPT-2 XL": (gpt2(1_600, 48, 25), 1_557_611_200),
    # arXiv 2302.13971, table 2: 6.7B, 13.0B, 32.5B, 65.2B; the exact counts are those of the checkpoints
    "Llama 7B": (llama(4_096, 32, 32, 11_008), 6_738_415_616),
    "Llama 13B": (llama(5_120, 40, 40, 13_824), 13_015_864_320),
    "Llama 30B": (llama(6_656, 60, 52, 17_920), 32_528_943_616),
    "Llama 65B": (llama(8_192, 80, 64, 22_016), 65_285_660_672),
    # arXiv 2307.09288 and 2407.21783
    "Llama 2 70B": (llama(8_192, 80, 64, 28_672, num_kv_heads=8), 68_976_648_192),
    "Llama 3 8B": (llama(4_096, 32, 32, 14_336, num_kv_heads=8, vocab_size=128_256), 8_030_261_248),
    # arXiv 2401.04088: 47B in all, 13B active
    "Mixtral 8x7B": (MIXTRAL, 46_702_792_704),
    # bigscience/bloom: 176B with a norm after the embedding; arXiv 2211.05100, table 3
    "BLOOM": (
        ModelShape(250_880, 2_048, 14_336, 70, 112, 57_344, bias=True, tied_embeddings=True, outer_norms=2),
        176_247_271_424,
    ),
    # arXiv 1910.10683: 60M, 220M, 11B; one bias table of 32 buckets for each head in each stack
    "T5 small": (ModelShape(**T5, d_model=512, num_layers=6, num_encoder_layers=6, num_heads=8, d_ff=2_048,
                            position_parameters=32 * 8), 60_506_624),
    "T5 base": (ModelShape(**T5, d_model=768, num_layers=12, num_encoder_layers=12, num_heads=12, d_ff=3_072,
                           position_parameters=32 * 12), 222_903_552),
    "T5 11B": (ModelShape(**T5, d_model=1_024, num_layers=24, num_encoder_layers=24, num_heads=128, d_head=128,
                          d_ff=65_536, position_parameters=32 * 128), 11_307_321_344),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    shape, published = PUBLISHED[name]
    assert parameters(shape) == published


def test_active_parameters_are_what_a_token_is_multiplied_by():
    assert active_parameters(MIXTRAL) == 12_748_587_008
    assert active_parameters(replace(MIXTRAL, top_k=8)) == parameters(MIXTRAL) - 32_000 * 4_096 - 65 * 4_096
    linear = [m for m in make("llama").modules() if isinstance(m, nn.Linear)]
    assert active_parameters(SHAPES["llama"]) == sum(m.weight.numel() for m in linear)


# ----------------------------------------------------------------------------------------------------------------- FLOPs


@pytest.mark.parametrize("name", SHAPES)
def test_flops_equal_the_counted_ones(name):
    model = make(name)
    ids, lengths = inputs(name)
    there, back = counted_flops(lambda: model(*ids))
    assert there == forward_flops(SHAPES[name], **lengths).total
    assert back == backward_flops(SHAPES[name], **lengths).total == 2 * there
    assert training_flops(SHAPES[name], **lengths).total == there + back


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_the_cpus_fused_attention_is_counted_too(name):
    model, s = make(name, fused=True), SHAPES[name]
    ids, lengths = inputs(name)
    assert counted_flops(lambda: model(*ids))[0] == forward_flops(s, **lengths).total


def test_flops_by_kind_add_up_by_hand():
    d, ff, L, V, B, T = 24, 40, 3, 37, 2, 7
    flops = forward_flops(SHAPES["llama"], B, T)
    assert flops == Flops(
        projections=L * 2 * B * T * (d * d + 2 * d * d // 2 + d * d),
        attention=L * 2 * 2 * B * T * T * d,
        feed_forward=L * 2 * B * T * 3 * d * ff,
        output=2 * B * T * d * V,
    )
    assert (flops + flops).total == 2 * flops.total


@pytest.mark.parametrize("name", ["llama", "palm", "qwen"])
def test_flops_of_tokens_that_come_after_a_cache(name):
    model, s = make(name), SHAPES[name]
    head = s.q_width // s.num_heads
    past = [[torch.randn(BATCH, s.num_kv_heads, 11, head) for _ in range(2)] for _ in range(s.num_layers)]
    assert storage_bytes(t for cache in past for t in cache) == kv_cache_bytes(s, BATCH, 11, itemsize=4)
    there, _ = counted_flops(lambda: model.logits(torch.zeros(BATCH, 1, dtype=torch.long), caches=past))
    assert there == forward_flops(s, BATCH, 1, past=11).total
    assert past[0][0].shape[2] == 12


def test_a_decoder_with_a_cache_does_not_read_the_source_again():
    s, model = SHAPES["encoder-decoder"], make("encoder-decoder")
    step, whole = forward_flops(s, 1, 1, source_seq=14, past=5), forward_flops(s, 1, 1, source_seq=14)
    memory = model.encode(torch.zeros(1, 14, dtype=torch.long)).detach()
    cross = model.decoder.blocks[0].cross
    keys_and_values = counted_flops(lambda: cross.k(memory))[0] * 2 * s.num_layers
    encoder = counted_flops(lambda: model.encode(torch.zeros(1, 14, dtype=torch.long)))[0]
    more = 4 * s.num_layers * 5 * s.d_model  # this step looks at five tokens more
    assert whole.total - encoder - keys_and_values + more == step.total


def test_checkpointing_runs_the_blocks_again():
    model, s = make("gpt", recompute=True), SHAPES["gpt"]
    ids, lengths = inputs("gpt")
    with set_checkpoint_early_stop(False):  # PyTorch would leave out a block's last product
        _, back = counted_flops(lambda: model(*ids))
    assert back == backward_flops(s, **lengths, recompute="block").total
    assert back > backward_flops(s, **lengths).total


def test_flash_attention_computes_the_scores_again():
    s = ModelShape(**{**SIZES, "num_layers": 1})
    there, back = forward_flops(s, 2, 9), backward_flops(s, 2, 9, recompute="attention")
    heads = (2, s.num_heads, 9, s.d_model // s.num_heads)
    assert there.attention == sdpa_flop_count(heads, heads, heads)
    assert back.attention == sdpa_backward_flop_count(heads, heads, heads, heads)
    assert back.projections == 2 * there.projections


def test_six_nd_lacks_attention_and_nothing_else():
    for s in SHAPES.values():
        if not s.num_encoder_layers:
            counted = training_flops(s, 5, 8)
            assert six_nd(active_parameters(s), 5 * 8) == counted.total - counted.attention


def test_attention_grows_with_the_square_and_the_rest_in_proportion():
    one, two = forward_flops(SHAPES["gpt"], 1, 6), forward_flops(SHAPES["gpt"], 1, 12)
    assert two.attention == 4 * one.attention
    assert (two.projections, two.feed_forward, two.output) == (
        2 * one.projections,
        2 * one.feed_forward,
        2 * one.output,
    )


def test_a_first_layer_has_no_gradient_of_its_input():
    w = torch.ones(3, 4, requires_grad=True)
    assert counted_flops(lambda: torch.ones(2, 3) @ w) == (matmul_flops(2, 3, 4), matmul_flops(2, 3, 4))
    assert matmul_flops(2, 3, 4, batch=5) == 5 * 48


# ---------------------------------------------------------------------------------------------------------------- memory


OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
}


def measure(model: nn.Module, optimizer: torch.optim.Optimizer, kept=()) -> Memory:
    state = [v for values in optimizer.state.values() for v in values.values() if torch.is_tensor(v)]
    gradients = storage_bytes(p.grad for p in model.parameters())
    return Memory(storage_bytes(model.parameters()), gradients, storage_bytes([*state, *kept]))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["gpt", "llama", "encoder-decoder"])
def test_memory_equals_what_is_allocated(name, optimizer, precision):
    model = make(name).to(getattr(torch, precision))
    ids, _ = inputs(name)
    stepping = OPTIMIZERS[optimizer](model.parameters())
    model(*ids).backward()
    stepping.step()
    measured = measure(model, stepping)
    assert (
        measured == training_memory(model, optimizer, precision) == training_memory(SHAPES[name], optimizer, precision)
    )


def test_mixed_precision_keeps_a_float32_copy():
    model, (ids, _) = make("llama").bfloat16(), inputs("llama")
    model(*ids).backward()
    masters = [p.detach().float().requires_grad_() for p in model.parameters()]
    stepping = torch.optim.AdamW(masters)
    for master, p in zip(masters, model.parameters()):
        master.grad = p.grad.float()
    stepping.step()
    assert measure(model, stepping, masters) == training_memory(SHAPES["llama"], "adamw", "mixed")


def test_sixteen_bytes_for_each_parameter_and_a_step_count_for_each_tensor():
    tensors = len(list(make("gpt").parameters()))
    for precision in ("float32", "mixed"):
        assert training_memory(SHAPES["gpt"], precision=precision).total == 16 * parameters(SHAPES["gpt"]) + 4 * tensors
    assert training_memory(SHAPES["gpt"], activations=1_000).total == training_memory(SHAPES["gpt"]).total + 1_000
    assert training_memory(SHAPES["gpt"], "lion").optimizer == 4 * parameters(SHAPES["gpt"])


def known(model: nn.Module, ids) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers(), *ids]


@pytest.mark.parametrize("name", ["gpt", "llama", "palm", "encoder-decoder"])
def test_activations_equal_what_autograd_keeps(name):
    model = make(name)
    ids, lengths = inputs(name)
    labels = 8 * ids[0].numel()  # here the labels are the ids, which exist anyway
    predicted = activation_bytes(SHAPES[name], **lengths)
    assert saved_bytes(lambda: model(*ids), known(model, ids)) == predicted - labels


def test_activations_of_fused_attention_keep_no_probabilities():
    model, s = make("gpt", fused=True), SHAPES["gpt"]
    ids, lengths = inputs("gpt")
    measured = saved_bytes(lambda: model(*ids), known(model, ids))
    predicted = activation_bytes(s, **lengths, recompute="attention") - 8 * ids[0].numel()
    assert measured == predicted < activation_bytes(s, **lengths)
    long = replace(s, context_length=10**6)
    growth = [activation_bytes(long, 1, seq, recompute="attention") for seq in (1_000, 2_000)]
    assert growth[1] - 4 == 2 * (growth[0] - 4)  # linear in the length; cross-entropy keeps one count of 4 bytes


def test_activations_of_checkpointing_are_the_inputs_and_one_block():
    model, s = make("gpt", recompute=True), SHAPES["gpt"]
    ids, lengths = inputs("gpt")
    x = torch.randn(BATCH, 9, s.d_model, requires_grad=True)
    block, mask = model.blocks[0], model.mask[:9, :9]
    measured = saved_bytes(lambda: model(*ids), known(model, ids))
    measured += saved_bytes(lambda: block(x, mask), [x, mask, *block.parameters()])
    predicted = activation_bytes(s, **lengths, recompute="block")
    assert measured == predicted - 8 * ids[0].numel()


def test_storages_count_once_and_whole():
    x = torch.zeros(10, 10)
    assert storage_bytes([]) == 0
    assert storage_bytes([x[3], x[4:].T, x.view(-1)]) == 400
    assert storage_bytes([x, x.clone()]) == 800
    assert storage_bytes([x.bfloat16(), x.to(torch.float8_e4m3fn)]) == 300
    assert storage_bytes([x[None].expand(5, 10, 10)]) == 400


def test_saved_bytes_leave_the_gradient_as_it_is():
    x = torch.ones(10, requires_grad=True)
    assert saved_bytes(lambda: (x.exp() * x.sin()).sum(), [x]) == 2 * 40  # exp keeps its result, the product both
    assert saved_bytes(lambda: x + 1, [x]) == 0
    assert x.grad is None


def test_kv_cache_by_hand():
    shape = PUBLISHED["Llama 2 70B"][0]
    assert kv_cache_bytes(shape, 1, 4_096) == 2 * 80 * 8 * 128 * 4_096 * 2
    assert kv_cache_bytes(replace(shape, num_kv_heads=None), 1, 4_096) == 8 * kv_cache_bytes(shape, 1, 4_096)
    assert kv_cache_bytes(SHAPES["encoder-decoder"], 2, 5, source_seq=7) == 2 * 3 * 24 * 2 * (5 + 7) * 2


# ------------------------------------------------------------------------------------------------------------------ time


def test_roofline_has_a_slope_and_a_roof():
    peak, bandwidth = 989e12, 3.35e12
    ridge = peak / bandwidth
    assert roofline(ridge / 2, peak, bandwidth) == pytest.approx(peak / 2)
    assert roofline(2 * ridge, peak, bandwidth) == peak
    assert matmul_intensity(1, 4_096, 4_096) < 1 < ridge < matmul_intensity(4_096, 4_096, 4_096)
    assert matmul_intensity(6, 6, 6, itemsize=1) == pytest.approx(2 * 6 / 3)


def test_days_of_a_known_training_run():
    # arXiv 2407.21783: 3.8e25 FLOPs at 38 to 43 % on 16,384 H100s; 15.6T tokens
    flops = six_nd(405e9, 15.6e12)
    assert flops == pytest.approx(3.8e25, rel=0.01)
    days = training_days(flops, devices=16_384, peak_flops=989e12, mfu=0.4)
    assert 60 < days < 75
    assert mfu(flops, days * 86_400, 16_384 * 989e12) == pytest.approx(0.4)


# ---------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_kv_heads": 3}, "4 query heads cannot share 3"),
        ({"num_kv_heads": 0}, "at least 1"),
        ({"d_model": 22}, "22 is not a multiple of num_heads 4"),
        ({"vocab_size": 0}, "at least 1"),
        ({"top_k": 2}, "top_k is 2"),
        ({"num_experts": 4, "top_k": 0}, "top_k is 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ModelShape(**{**SIZES, **change})


def test_unknown_names_are_refused():
    s = SHAPES["gpt"]
    for function in (backward_flops, activation_bytes, training_flops):
        with pytest.raises(ValueError, match="'blocks', not one of"):
            function(s, 1, 4, recompute="blocks")
    with pytest.raises(KeyError, match="adam"):
        training_memory(s, "adam")
    with pytest.raises(KeyError, match="float16"):
        training_memory(s, precision="float16")
