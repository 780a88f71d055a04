r"""Hidden checks of a5_moe_router: 100 points, judged through `TopKRouter` and `dispatch` alone.

Each exercise ends with a check of all of it together, on ordinary tokens (batch, seq, d_model), values and gradients, which
carries most of its points; the checks before it say why, and each looks at one thing alone.

With a gate that only turns round and doubles or halves, tokens can be made for any logits, and exactly: so every check of
the router begins with logits of its own making. Gates and losses are compared with slow definitions in float64, of the
experts that the solution itself has chosen: a wrong choice costs the points of the choice only. A function of the notebook
that fails is stood in for, by one that answers nothing (`drive_router`), so that it costs its own points only; and so do a
gate of another name, or fields in another order. `dispatch` is given experts of ours that note what they get. Where the
order of tokens does not matter all tokens are equal, where gates do not matter all are 1, and what must not depend on
something (on the dimensions in front, on the numbering of experts) is compared with the solution's own answer. A gradient
is compared with that of the definition, or of the misconception that gives the solution's value.

All answers come from the solution's process, which may say what it likes: so no check is passed by a note, a count or an
agreement of two answers alone. Each also asks for numbers that follow from fresh inputs: `expect_a_choice`, `known` and
`expect_a_dispatch` ask whether there is a router, a loss, a dispatch at all, and forgive what other checks judge. That an
expert is called for many tokens at once is seen in the result, for there are experts whose results depend on all that
they are called with; and loops are found by processor time, measured from outside.
"""

WARM = ("torch", "einops", "jaxtyping", "torch.overrides")
REFUSED = ()  # torch has no router; softmax, topk and logsumexp are not what is asked
SWITCH = "https://arxiv.org/abs/2101.03961"
READ = {  # where to read on, by exercise
    "gates": ("Jiang et al. 2024, Mixtral of Experts, section 2.1", "https://arxiv.org/abs/2401.04088"),
    "balance": ("Fedus et al. 2021, Switch Transformers, section 2.2", SWITCH),
    "z_loss": ("Zoph et al. 2022, ST-MoE, equation 5", "https://arxiv.org/abs/2202.08906"),
    "router": ("Fedus et al. 2021, Switch Transformers, section 2.4", SWITCH),
    "dispatch": ("Shazeer et al. 2017, section 3.1", "https://arxiv.org/abs/1701.06538"),
}
ORDER = (  # of what is run: files of this folder, and a check that runs later than its file
    *("gates", "balance", "z_loss", "router"),
    *("dispatch", "dispatch_calls", "dispatch_corners", "dispatch.dispatch_together"),
)
