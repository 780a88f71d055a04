r"""Hidden checks of a2_attention: 100 points, judged through `softmax`, `scaled_dot_product_attention`, `padding_mask`
and `MultiHeadAttention` alone.

Each exercise is judged twice. Its last check is *together*: ordinary input, everything that the student wrote at once,
compared number by number. It carries half of the points, so that what would not work in a model costs what it is worth.
The checks before it say why, and carry the other half. Each of these meets one difficulty and no other: where the scale
does not matter all scores are equal, where the split into heads does not matter there is one head, and the module gets
an `attend` of the checks' own, so that an error in the student's attention is met by the checks of attention and by
what is together.

Expected answers come from the slow definitions in `definition`, in float64 and head by head. A misconception is the same
definition with one part replaced, so a wrong answer can be recognised and named.

What comes back was made where the student's code lives, and may be made up. So each check asks for numbers that follow
from fresh inputs and compares them here; where those numbers alone say little (all scores equal, one token), or the
check is about what happens on the way, a gate comes first: an ordinary question that nothing but a softmax, an
attention or a module can answer, whatever else is wrong with it. The same gates find out how a solution wants to be
asked (`manner`, `module`), where that is a matter of style, and lend it what it does not have (`lend`) after that has
cost its points.
"""

WARM = ("torch", "einops", "jaxtyping", "torch.fx.experimental.symbolic_shapes")  # the last for torch.broadcast_shapes
REFUSED = (  # an exercise is to write them
    "torch.softmax",
    "torch.Tensor.softmax",
    "torch.nn.functional.softmax",
    "torch.special.softmax",
    "torch._softmax",
    "torch._safe_softmax",
    "torch.sparse.softmax",
    "torch.masked.softmax",
    "torch.log_softmax",
    "torch.Tensor.log_softmax",
    "torch.nn.functional.log_softmax",
    "torch.special.log_softmax",
    "torch._log_softmax",
    "torch.ops.aten.softmax",
    "torch.ops.aten._softmax",
    "torch.ops.aten._safe_softmax",
    "torch.nn.functional.scaled_dot_product_attention",
    "torch._C._nn.scaled_dot_product_attention",
    "torch.ops.aten.scaled_dot_product_attention",
    "torch._scaled_dot_product_attention_math",
    "torch.nn.functional.multi_head_attention_forward",
    "torch._native_multi_head_attention",
    "torch.nn.MultiheadAttention",
    "torch.nn.modules.activation.MultiheadAttention",
    *("torch._C._te.lower", "torch._C._te.TensorExprKernel"),  # these compile any operation
    *(
        "*softmax*",
        "*scaled_dot_product*",
        "*multi_head_attention*",
        "*math_attention*",
        "flex_attention*",
        "attention*",
    ),
    *("sdpa_dense*", "*transformer_encoder_layer*"),  # under whatever other name the library has them
)
ATTENTION = ("Vaswani et al. 2017, Attention Is All You Need, section 3.2.1", "https://arxiv.org/abs/1706.03762")
HEADS = ("Vaswani et al. 2017, Attention Is All You Need, section 3.2.2", "https://arxiv.org/abs/1706.03762")
READ = {  # where to read on, by exercise
    "softmax": ATTENTION,
    "attention": ATTENTION,
    "multi_head": HEADS,
    "grouped": ("Ainslie et al. 2023, GQA, section 2.2", "https://arxiv.org/abs/2305.13245"),
    "masks": ("Vaswani et al. 2017, Attention Is All You Need, section 3.2.3", "https://arxiv.org/abs/1706.03762"),
    "cross": ("Vaswani et al. 2017, Attention Is All You Need, section 3.2.3", "https://arxiv.org/abs/1706.03762"),
    "positions": ("Shazeer 2019, Fast Transformer Decoding, section 2.4", "https://arxiv.org/abs/1911.02150"),
}
ORDER = (  # of what is run: files, and checks that run later than their file. Those of ordinary use come last, so that the
    # first message is that of the cause
    *("softmax", "attention", "multi_head", "grouped", "masks", "cross", "positions", "masks.mask_with_a_cache"),
    *("multi_head.self_attention_together", "multi_head.training_together", "grouped.grouped_together"),
    *("masks.masks_together", "cross.context_together", "positions.generation_together"),
)
