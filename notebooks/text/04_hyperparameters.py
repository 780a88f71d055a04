# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {minutes: 3, prerequisites: [03b_variants], device: CPU}
# ---

# %% [markdown]
# # 04 · Hyperparameters (超参数)
#
# **3 minutes to run on 2 cores · prerequisites: 03b, and a4 for Lion · device: CPU**
#
# A model is a few numbers of shape and a few numbers of training. Which of them matter? We turn one knob after the other.
# Each comparison has its learning rate tuned for each arm over the same grid, and then three new seeds.
#
# ## By the end you will have shown
#
# 1. **The rate should fall at the end, and in a short run only there**: WSD beats a constant rate, and a constant rate
#    beats a cosine.
# 2. **Lion's best learning rate is three times smaller than AdamW's.** A rate three times off costs more than any shape
#    of the feed-forward network below, T5-11B's included.
# 3. **Weight decay has no gap to close when text is seen once.** That it lowers the loss at the end, as in large runs, does
#    *not* show at our scale: here it raises it.
# 4. **Early dropout gains nothing here**, though it costs less than dropout that stays.
# 5. **The `d_ff` ratio has a wide basin, and T5-11B's 64 lies outside it**, by a quarter of a nat. Of the basin of the
#    aspect ratio we see one side only.
# 6. **The gradient's noise scale grows while a model trains**, and there is a critical batch: below it, four times the
#    batch takes nearly four times fewer steps, above it less than half as many are saved.
#
# Every claim is followed by a cell that measures it and stops with an error if it is false. Before a measurement there
# is a **Predict**: write your number in place of `None` before you run the cell. What takes too long for you to wait is
# recorded in `notebooks/results`, and each figure prints the command that computes it again.

# %% [markdown]
# ## 1 · The engine
#
# Training is a loop of five lines: batch, loss, gradient, clip, update. What makes it long is what a loop of five lines
# forgets: to go on after a crash, to be the same on one process and on two, to say what happened. All of that is in
# [appendix 04x](appendix/04x_engine.ipynb), which builds `cs336lite.training`. Here we use it.
#
# *Warmup* (预热) climbs from almost 0, because the first gradients are large, all point the same way, and Adam's second
# moment has seen too few of them. Then comes a schedule:
#
# | name | after warmup | used by |
# |---|---|---|
# | linear | a straight line to zero | BERT; *D2Z* (arXiv 2502.15938) |
# | cosine | half a cosine, often to 10 % | GPT-3, Llama, Chinchilla |
# | WSD | flat, then a short fall (warmup, stable, decay) | MiniCPM (2404.06395): the length need not be known |
#
# AdamW (1711.05101) divides a mean gradient by its size; Lion (2302.06675, your assignment a4) takes the sign of a
# mean. Both shrink weights by `lr * weight_decay` in each step, apart from the gradient (*decoupled*, 解耦). Only
# matrices decay: a norm's gain that is drawn to zero would switch a channel off.

# %% [markdown]
# ## 2 · Does it work?
#
# Text without a network: stories written by a grammar, in tokens of a BPE vocabulary of 512 (your a1). The model has
# two layers and 167,000 parameters, small enough for hundreds of runs.


# %% folded=true
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from scipy.optimize import curve_fit
from torch import nn

from cs336lite.accounting import parameters
from cs336lite.bpe import Tokenizer, train_bpe
from cs336lite.course import finished, whose
from cs336lite.course.data import data_folder, stories
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.course.results import recorded, source
from cs336lite.model import TransformerConfig
from cs336lite.training import (
    SCHEDULES,
    Experiment,
    Run,
    Tokens,
    TrainingConfig,
    describe,
    lr_factor,
    noise_scale,
    sweep,
    train,
    write_tokens,
)

torch.set_num_threads(1)  # the models are so small that several threads would only wait for each other
# until you have them, cells show recorded results and what our own run has shown, and nothing is trained
HAVE_MODEL, HAVE_BPE, HAVE_LION = (
    whose(*modules, lecture="04_hyperparameters") for modules in (("attention", "rope"), ("bpe",), ("lion",))
)

YOURS = (
    "this runs on your attention and RoPE, and on your tokenizer and Lion where they are there: "
    "do check('a1_bpe'), check('a2_attention'), check('a3_rope') and check('a4_lion') pass?"
)


# %%
TEXT = {"train": "\n\n".join(stories(2_000, seed=1)), "heldout": "\n\n".join(stories(300, seed=2))}


def tokenise(vocab_size: int) -> dict[str, Tokens]:
    """Both texts as tokens of a BPE vocabulary that is trained on the first; as bytes for 256, or without a1."""
    if vocab_size == 256 or not HAVE_BPE:
        return {name: Tokens(np.frombuffer(text.encode(), np.uint8)) for name, text in TEXT.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_text(TEXT["train"][:400_000])
        encode = Tokenizer(*train_bpe(path, vocab_size, [])).encode
        for name, text in TEXT.items():
            write_tokens(Path(folder) / f"{name}.npy", encode(text), vocab_size)
        return {name: Tokens(np.load(Path(folder) / f"{name}.npy")) for name in TEXT}  # small enough to hold


DATA = tokenise(512)
print({name: f"{len(tokens):,} tokens" for name, tokens in DATA.items()})

# %%
BASE = TransformerConfig(
    vocab_size=512, context_length=64, d_model=64, num_layers=2, num_heads=2, d_ff=172, attend="sdpa"
)
PLAN = TrainingConfig(steps=100, batch_size=8, warmup=10)
Arms = dict[str, tuple[TransformerConfig, dict]]  # name -> model, changes to PLAN
print(f"{parameters(BASE.shape):,} parameters, {PLAN.steps * PLAN.batch_size * BASE.context_length:,} tokens in a run")

# %% [markdown]
# ### How we compare
#
# The learning rate that is best for one arm is not best for another, so each arm is *tuned* (调参) over the same grid,
# with seed 0. Then the arm is measured at its best rate with seeds 1, 2 and 3, which the choice has not seen. All arms
# of a comparison have the same number of steps and of tokens. Bars are 95 % intervals (置信区间) of the mean by Student's
# *t*: with three runs, 2.5 times their standard deviation, so they are wide.


# %%
def crossed(arms: Arms, lrs: Sequence[float], seeds: Sequence[int]) -> list[Experiment]:
    """Every arm at every learning rate with every seed: the same number of steps and of tokens for all."""
    return [
        Experiment(model, replace(PLAN, lr=lr, seed=seed, **changes), f"{arm} @ {lr:g}")
        for arm, (model, changes) in arms.items()
        for lr in lrs
        for seed in seeds
    ]


def row(run: Run) -> dict:
    """What is kept of a run: its name, its last validation loss, the mean loss of its last 20 steps, in nats."""
    end = None if run.diverged else round(float(run.values()[-20:].mean()), 4)
    curve = [round(float(x), 4) for x in run.values("validation")] if run.metrics[-1].get("validation") else []
    return {"name": run.name, "final": None if run.diverged else round(run.final, 4), "train": end, "curve": curve}


# %%
def swept(experiments: list[Experiment], data: dict[str, Tokens], cache: Path | None = None) -> list[dict]:
    """The rows of a sweep in two processes, which with ``cache`` goes on where it was stopped."""
    runs = sweep(experiments, data["train"], validation=data["heldout"], jobs=2, cache=cache)
    return [row(run) for run in runs]


def tuned(arms: Arms, lrs: Sequence[float], data: dict[str, Tokens], cache: Path | None = None) -> list[dict]:
    """For each arm the learning rate that is best with seed 0, and runs at this rate with seeds 1, 2 and 3."""
    first = iter(swept(crossed(arms, lrs, (0,)), data, cache))
    rows = []
    for name in arms:
        tried = [(lr, next(first)["final"]) for lr in lrs]
        best = min(tried, key=lambda pair: math.inf if pair[1] is None else pair[1])[0]
        rows.append({"arm": name, "tried": tried, "lr": best})
    again = [e for found, arm in zip(rows, arms) for e in crossed({arm: arms[arm]}, (found["lr"],), (1, 2, 3))]
    measured = iter(swept(again, data, cache))
    return [found | {"runs": [next(measured) for _ in range(3)]} for found in rows]


# %%
RUNS = data_folder() / "runs"  # where long sweeps go on when they were stopped


def long(name: str, arms: Arms, lrs: Sequence[float], data: dict[str, Tokens] | None = None) -> list[dict]:
    """What `tuned` gives, which takes longer than this lecture may: recorded, and computed again when asked."""
    return recorded(name, lambda: tuned(arms, lrs, data or DATA, RUNS), describe([PLAN, arms, lrs]))


def interval(values: Iterable[float]) -> tuple[float, float]:
    """The mean and the half width of its 95 % interval."""
    x = np.array([math.inf if value is None else value for value in values])
    return x.mean(), stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5


def table(rows: list[dict], what: str = "final") -> dict[str, float]:
    """Print each arm's best rate and loss with its interval; the means."""
    means = {}
    for found in rows:
        mean, half = interval(run[what] for run in found["runs"])
        print(f"{found['arm']:>14}  lr {found['lr']:<7g} {mean:.3f} ± {half:.3f} nats")
        means[found["arm"]] = mean
    return means


# %% [markdown]
# ### Schedules, here and now
#
# **Predict.** Order the four schedules by final loss.

# %%
grid = np.arange(100)
fig, ax = axes(xlabel="step", ylabel="learning rate (share of the highest)", size=(6.4, 2.8))
for (name, line), color in zip({"constant": ":", "linear": "-", "cosine": "--", "wsd": "-."}.items(), COLORS.values()):
    plan = replace(PLAN, schedule=name)
    ax.plot(grid, [lr_factor(plan, step) for step in grid], line, color=color, linewidth=2, label=name)
ax.set_title("Ten steps of warmup, then four ways to go")
finish(fig)

# %% tags=["timing"]
guess = None  # best to worst
if HAVE_MODEL.or_show("schedules"):
    found = tuned({name: (BASE, {"schedule": name}) for name in SCHEDULES}, (6e-3, 1.2e-2), DATA)
    means = table(found)
    reveal("best to worst", sorted(means, key=means.get), guess)
    assert means["wsd"] < min(means["constant"], means["linear"]) and means["constant"] < means["cosine"], YOURS

# %% [markdown]
# In so short a run the distance travelled counts: a schedule that falls early, cosine above all, loses to a rate that
# does not fall at all. The short fall of WSD at the end still gains over the constant rate. In longer runs the constant
# rate falls behind; large runs end at or near zero (*D2Z* argues for a straight line), and WSD has the advantage that the
# length need not be known in advance.

# %% [markdown]
# ## 3 · AdamW and Lion: two basins
#
# Chen et al. (2302.06675) advise for Lion, against AdamW, a learning rate 3 to 10 times smaller and a weight decay 3 to
# 10 times larger, so that their product stays: a sign is an update of size 1 in every entry, while Adam's is mostly
# smaller. Here is each optimizer's loss over its learning rate, for three weight decays, three seeds a point, all with
# the same batches. (A basin, 盆地, is the range of a knob where the loss is nearly the best.)
#
# **Predict.** How many times smaller is Lion's best learning rate here? What does a weight decay of 10 cost each of them?

# %%
guess = None  # (times smaller, nats for AdamW, nats for Lion)

RATES = {"adamw": (1e-3, 3e-3, 1e-2, 3e-2), "lion": (3e-4, 1e-3, 3e-3, 1e-2)}
BASINS = [
    experiment
    for name, lrs in RATES.items()
    for wd in (0.0, 1.0, 10.0)
    for experiment in crossed({f"{name} {wd:g}": (BASE, {"optimizer": name, "weight_decay": wd})}, lrs, (0, 1, 2))
]
basins = recorded("04_basins.json", lambda: swept(BASINS, DATA, RUNS), describe(BASINS))
print(source("04_basins.json"))

points: dict[str, dict[float, tuple[float, float]]] = {}  # arm -> rate -> loss with its interval
for n in range(0, len(basins), 3):
    arm, lr = basins[n]["name"].split(" @ ")
    points.setdefault(arm, {})[float(lr)] = interval(run["final"] for run in basins[n : n + 3])

# %%
fig, both = axes(1, 2, xlabel="learning rate", ylabel="validation loss (nats)", size=(8.2, 3.4), sharey=True)
for ax, name in zip(both, RATES):
    for wd, color, line in zip((0, 1, 10), COLORS.values(), ("-", "--", "-.")):
        lrs, losses = zip(*points[f"{name} {wd}"].items())
        mean, half = zip(*losses)
        ax.errorbar(lrs, mean, half, fmt=f"o{line}", color=color, capsize=3, label=f"weight decay {wd}")
    ax.set(xscale="log", title={"adamw": "AdamW", "lion": "Lion"}[name])
finish(fig)

# %%
best = {name: min(RATES[name], key=lambda lr: points[f"{name} 0"][lr][0]) for name in RATES}
lowest = {name: points[f"{name} 0"][best[name]] for name in RATES}
cost = {name: points[f"{name} 10"][best[name]][0] - lowest[name][0] for name in RATES}
for name in RATES:
    mean, half = lowest[name]
    print(f"{name}: best rate {best[name]:g}, loss {mean:.2f} ± {half:.2f}; a weight decay of 10 adds {cost[name]:.2f}")
reveal(
    "times smaller, cost of decay", (f"{best['adamw'] / best['lion']:.1f}", *map("{:.2f}".format, cost.values())), guess
)
assert 3 <= best["adamw"] / best["lion"] <= 34 and min(cost.values()) > 0.2
for name in RATES:  # each basin has two walls in our grid, and a rate three times off is outside
    walls = [loss[0] - lowest[name][0] for lr, loss in points[f"{name} 0"].items() if lr != best[name]]
    assert min(walls) > 0.2 and min(RATES[name]) < best[name] < max(RATES[name])

# %% tags=["timing"]
if (HAVE_MODEL & HAVE_LION & HAVE_BPE).or_show("two points again"):  # of the record, trained here and now
    names = [f"{name} 0 @ {best[name]:g}" for name in RATES]
    chosen = [e for e in BASINS if e.name in names and e.training.seed == 0]
    for e, now in zip(chosen, swept(chosen, DATA)):
        kept = basins[BASINS.index(e)]["final"]
        print(f"{e.name}: recorded {kept:.3f}, now {now['final']:.3f}")
        assert abs(now["final"] - kept) < 0.3, YOURS

# %% [markdown]
# The basins look alike, Lion's further left, as advised. At its best rate Lion is not behind AdamW here. Of weight decay
# we see one wall only: 0 and 1 are not told apart, 10 is too much for both. That Lion's should be larger, so that the
# product with the rate stays, needs runs that last 1 / (lr · weight decay) steps; ours are too short for it.
#
# $\beta = (0.9, 0.99)$ is Lion's default in the paper, and ours. Where training is unstable, it suggests (0.95, 0.98).

# %% [markdown]
# ## 4 · What weight decay does
#
# Textbooks call weight decay a *regulariser* (正则化): it keeps a model from fitting its training set too well. A
# language model that sees each token once has nothing to fit too well. D'Angelo et al. (2310.04415) found that weight
# decay lowers the *training* loss there, and that one sees it at the end: small weights move by a larger share of
# their size in each step, a higher effective learning rate, which pays when the rate falls.
#
# A step shrinks a weight by the share `lr * weight_decay`, so decay acts over 1 / (lr · weight decay) steps: with
# the usual 0.1 and a rate of 6e-3 over 1,700 steps. Ours have 320. So we try larger ones too.
#
# **Predict.** Four weight decays, text seen once, WSD: flat for three quarters of the steps, then down to zero. Which
# is lowest before the fall, which at the end? How large is the gap between held-out and training loss?

# %%
guess = None  # (lowest before the fall, lowest at the end, gap in nats)

LRS = (3e-3, 6e-3, 1.2e-2)
WSD = {"schedule": "wsd", "decay": 0.25, "steps": 320, "eval_every": 80}
DECAYS = {f"{wd:g}": (BASE, {"weight_decay": wd, **WSD}) for wd in (0.0, 0.3, 1.0, 3.0)}
ends = long("04_weight_decay.json", DECAYS, (6e-3, 1.2e-2))
print(source("04_weight_decay.json"))
final = table(ends)
before = {found["arm"]: np.mean([run["curve"][2] for run in found["runs"]]) for found in ends}
gap = {found["arm"]: interval(run["final"] - run["train"] for run in found["runs"]) for found in ends}
print("before the fall:", {arm: round(float(x), 3) for arm, x in before.items()})
reveal("gap", {arm: f"{mean:+.3f} ± {half:.3f}" for arm, (mean, half) in gap.items()}, guess)

# %%
fig, ax = axes(xlabel="step", ylabel="validation loss (nats)", size=(6.4, 3.2))
for found, color, line in zip(ends, COLORS.values(), ("-", "--", "-.", ":")):
    curves = np.array([run["curve"] for run in found["runs"]])
    mean, half = zip(*(interval(column) for column in curves.T))
    label = f"weight decay {found['arm']}, lr {found['lr']:g}"
    ax.errorbar([80, 160, 240, 320], mean, half, fmt=f"o{line}", color=color, capsize=3, label=label)
ax.axvspan(240, 320, color="#EEEEEE")
ax.set_title("The grey part is where the learning rate falls")
assert all(abs(mean) < 0.15 for mean, _ in gap.values())  # no gap, with or without
assert final["0"] < final["1"] < final["3"] and before["0"] < before["1"] < before["3"]
finish(fig)

# %% [markdown]
# Half of the paper's finding is here: **there is no gap to close**, with or without weight decay (a mean over the last
# 20 steps lags a little, so the gap is even below zero). It moves the training and the held-out loss together.
#
# The other half is not: in our few hundred steps weight decay *raises* the loss, before the fall and at the end, and the
# more the larger it is; 0.3 and 0 are not told apart. Our runs end before weights have grown enough to need shrinking.
# That weight decay pays in the end is a finding of runs that are a hundred times longer; do not conclude from a short
# run that it can go.

# %% [markdown]
# ### And when the text is seen again and again?
#
# With 10,000 tokens instead of 859,000, our steps are twelve epochs (轮). Now there is a gap.
#
# **Predict.** How large is it with nothing against it? What lowers the held-out loss: dropout of 0.1, a weight decay of
# 1, both, neither?

# %%
guess = None  # (gap in nats, dropout, weight decay, both or neither)

FEW = {"train": Tokens(DATA["train"].ids[:10_000]), "heldout": DATA["heldout"]}
AGAIN = {"nothing": BASE, "dropout 0.1": BASE.replace(dropout=0.1), "weight decay 1": BASE}
AGAIN = {n: (m, {"steps": 240, "weight_decay": 1.0 if "decay" in n else 0.0}) for n, m in AGAIN.items()}
again = long("04_epochs.json", AGAIN, (3e-3, 6e-3), FEW)
print(source("04_epochs.json"))
print("held out:")
held = table(again)
print("on the training text, the last 20 steps:")
fitted = table(again, "train")
reveal("gaps", {arm: f"{held[arm] - fitted[arm]:.2f}" for arm in held}, guess)
assert held["nothing"] - fitted["nothing"] > 1 and fitted["weight decay 1"] > fitted["nothing"] + 0.1
assert abs(held["weight decay 1"] - held["nothing"]) < 0.1

# %% [markdown]
# Now there is a gap, of more than a nat. Weight decay narrows it, and so does dropout, but look at which end: they fit the
# training text less well, and the held-out loss is not better, for dropout even worse. **A smaller gap is not a better
# model.** (With many more epochs the held-out loss of the first arm would rise, and both would help; 240 steps are too few.)

# %% [markdown]
# ## 5 · Dropout, early and always
#
# *Dropout* (随机失活) zeroes a random part of the activations. Models that see each token once do without it; PaLM
# trained without and was fine-tuned with 0.1 (2204.02311). Liu et al. (2303.01500) drop only early, in networks that
# *underfit*, and win; their evidence is from vision. In our engine dropout falls to zero over the first fifth.
#
# **Predict.** Text seen once: no dropout, 0.1 always, 0.1 early. Which order, how far apart?

# %%
guess = None  # order

DROPPED = {"none": (BASE, {}), "constant": (BASE.replace(dropout=0.1), {})}
DROPPED["early"] = (BASE.replace(dropout=0.1), {"early_dropout": 0.2})
once = long("04_dropout.json", DROPPED, LRS)
print(source("04_dropout.json"))
dropped = table(once)
reveal("best to worst", sorted(dropped, key=dropped.get), guess)
assert dropped["none"] < dropped["constant"] and dropped["none"] < dropped["early"] + 0.05

# %% [markdown]
# Dropout that stays costs; early dropout costs less and gains nothing: its interval covers that of none. What Liu et al.
# saw in vision does not show here, where a run is 100 steps and the first fifth of them is mostly warmup.

# %% [markdown]
# ## 6 · The shape of a model
#
# Three ratios give a Transformer its shape:
#
# | ratio | usual | far from it |
# |---|---|---|
# | `d_ff / d_model` | 4; with a GLU, which has three matrices, 8/3 | T5-11B 64 (65,536 / 1,024); T5 v1.1 2.5 |
# | `num_heads * d_head / d_model` | 1 (GPT-3, Llama) | T5-11B 16 (128 heads of 128) |
# | `d_model / num_layers`, *aspect ratio* (宽深比) | GPT-3, Llama 2 7B 128, BLOOM 205 | GPT-2 XL 33, T5-11B 43 |
#
# Kaplan et al. (2001.08361, figure 5) changed each at a fixed number of parameters and found wide basins. We do the
# same: for each ratio, the width that makes the model as large as ours.
#
# **Predict.** By how many nats is T5-11B's ratio of 64 worse than 4? Is any aspect ratio outside the basin?


# %%
def equal_size(make: Callable[[int], TransformerConfig]) -> TransformerConfig:
    """Of the models that ``make(width)`` gives, the one whose number of parameters is nearest to that of BASE."""
    target = parameters(BASE.shape)
    return min((make(width) for width in range(8, 200, 4)), key=lambda c: abs(parameters(c.shape) - target))


def of_ratio(activation: str, ratio: float) -> TransformerConfig:
    return equal_size(lambda d: BASE.replace(d_model=d, d_ff=round(ratio * d), activation=activation))


def of_depth(layers: int) -> TransformerConfig:
    return equal_size(lambda d: BASE.replace(d_model=d, d_ff=round(8 / 3 * d), num_layers=layers))


RATIOS = {"gelu": (1, 4, 16, 64), "swiglu": (2 / 3, 8 / 3, 32 / 3, 128 / 3)}
WIDE = {f"{a} {r:.3g}": (of_ratio(a, r), {}) for a, ratios in RATIOS.items() for r in ratios}
DEEP = {f"{n}": (of_depth(n), {}) for n in (1, 2, 4, 8)}
sizes = [parameters(model.shape) / parameters(BASE.shape) for model, _ in [*WIDE.values(), *DEEP.values()]]
print(f"parameters, as a share of those of BASE: {min(sizes):.3f} to {max(sizes):.3f}")
assert 0.94 < min(sizes) <= max(sizes) < 1.08

# %%
guess = None  # nats

wide = long("04_d_ff.json", WIDE, (*LRS, 2.4e-2))
print(source("04_d_ff.json"))
of_wide = table(wide)
reveal("ratio 64 against 4, nats", f"{of_wide['gelu 64'] - of_wide['gelu 4']:+.3f}", guess)
deep = long("04_aspect.json", DEEP, LRS)
print(source("04_aspect.json"))
of_deep = table(deep)

# %%
fig, (left, right) = axes(1, 2, ylabel="validation loss (nats)", size=(8.2, 3.4), sharey=True)
for (name, ratios), color, line in zip(RATIOS.items(), COLORS.values(), ("-", "--")):
    mean, half = zip(*(interval(run["final"] for run in found["runs"]) for found in wide if name in found["arm"]))
    left.errorbar(
        ratios, mean, half, fmt=f"o{line}", color=color, capsize=3, label={"gelu": "GELU", "swiglu": "SwiGLU"}[name]
    )
left.axvline(64, color="#888888", linestyle=":")
left.set(xscale="log", xlabel="d_ff / d_model (64: T5-11B)", title="Feed-forward ratio")
aspects = [model.d_model / model.num_layers for model, _ in DEEP.values()]
mean, half = zip(*(interval(run["final"] for run in found["runs"]) for found in deep))
right.errorbar(aspects, mean, half, fmt="o-", color=COLORS["green"], capsize=3)
for x, y, (model, _) in zip(aspects, mean, DEEP.values()):
    right.annotate(
        f"{model.num_layers} × {model.d_model}", (x, y), xytext=(4, 8), textcoords="offset points", fontsize=9
    )
right.set(xscale="log", xlim=(3.5, 120), xlabel="d_model / num_layers", title="Aspect ratio")
right.set_xticks((5, 10, 20, 40, 80), labels=("5", "10", "20", "40", "80"))
right.minorticks_off()
assert of_wide["gelu 64"] > of_wide["gelu 4"] + 0.15 and of_wide["swiglu 42.7"] > of_wide["swiglu 2.67"]
assert max(of_wide["gelu 1"], of_wide["gelu 4"], of_wide["gelu 16"]) < of_wide["gelu 1"] + 0.25
assert of_deep["1"] < of_deep["2"] < of_deep["4"] < of_deep["8"]
finish(fig)

# %% [markdown]
# **The feed-forward basin is wide**: from 1 to 16 for GELU, from 2/3 to 32/3 for SwiGLU, losses differ by less than 0.2
# nats, and intervals overlap. T5-11B's ratio of 64 costs a quarter of a nat: at our size it leaves a width of 24 instead
# of 64, and everything must pass through it. The GLU with 128/3 loses 0.1. The narrow models want higher rates, the
# highest of our grid, and a still higher one may do better: on a grid that ends at 1.2e-2 the effect looks half as large again.
#
# **Of the aspect basin we see one side only.** At this size the usual 100 to 200 would need less than one layer: our
# models have 80, 32, 12 and 4.5, and within a hundred steps each halving of the depth pays. Kaplan et al. trained large
# models for long, and found 6 layers of 4,288 (715) within 3 % of 48 layers of 1,600 (33). Our runs do not contradict
# that, and do not confirm it.

# %% [markdown]
# ### Heads
#
# **Predict.** Two heads of 32, eight of 8, and two of 64: twice as much attention as `d_model`. Which differ?

# %%
guess = None

HEADS = {f"{h} x {d}": (BASE.replace(num_heads=h, d_head=d), {}) for h, d in ((2, 32), (8, 8), (2, 64))}
heads = long("04_heads.json", HEADS, LRS)
print(source("04_heads.json"))
of_heads = table(heads)
reveal("against 2 x 32, nats", {arm: f"{x - of_heads['2 x 32']:+.2f}" for arm, x in of_heads.items()}, guess)
assert abs(of_heads["8 x 8"] - of_heads["2 x 32"]) < 0.1 < of_heads["2 x 64"] - of_heads["2 x 32"]

# %% [markdown]
# Cut into two heads or eight, the same width is the same. Twice the width of attention is worse here by more than half a
# nat, though the model is larger; but its best rate lies at the low end of our grid, so part of that is the grid's. It is
# one shape in a hundred steps: no argument against T5.

# %% [markdown]
# ### Vocabulary size
#
# Recent and multilingual vocabularies are 100,000 to 250,000 (GPT-4 about 100,000, Llama 3 128,256, mT5 250,000); GPT-2
# had 50,257 and Llama 2 32,000. A larger vocabulary packs more text into a token and costs a larger output layer.
# Losses in nats a token cannot be compared across vocabularies; *bits per byte* (每字节比特数) can:
#
# $$\text{bits per byte} = \frac{\text{nats per token}}{\ln 2} \cdot \frac{\text{tokens}}{\text{bytes}}$$
#
# **Predict.** At the same number of tokens, so of steps, which vocabulary is best for our tiny model?


# %%
def vocabularies() -> list[dict]:
    """The arms of `tuned`, each with data of its own, and how many bits a byte a nat is."""
    found = []
    for vocab_size in (256, 512, 2_048):
        data = tokenise(vocab_size)
        (arm,) = tuned({f"{vocab_size}": (BASE.replace(vocab_size=vocab_size), {})}, LRS, data, RUNS)
        tokens_per_byte = len(data["heldout"]) / len(TEXT["heldout"].encode())
        found.append(arm | {"bits": tokens_per_byte / math.log(2)})  # times nats a token
    return found


guess = None  # vocabulary
vocabulary = recorded("04_vocabulary.json", vocabularies, describe([BASE, PLAN, LRS]))
print(source("04_vocabulary.json"))
bits = {found["arm"]: interval(run["final"] * found["bits"] for run in found["runs"]) for found in vocabulary}
for (vocab_size, (mean, half)), found in zip(bits.items(), vocabulary):
    size = parameters(BASE.replace(vocab_size=int(vocab_size)).shape)
    nats = np.mean([run["final"] for run in found["runs"]])
    print(f"{vocab_size:>5}: {nats:.3f} nats a token, {mean:.3f} ± {half:.3f} bits a byte, {size:,} parameters")
reveal("best", min(bits, key=bits.get), guess)
assert bits["2048"][0] < bits["512"][0] < bits["256"][0]

# %% [markdown]
# The order of nats a token is the opposite of the order that counts. At the same number of tokens the larger vocabulary
# wins by far here, for three reasons that are not the model's merit: its tokens cover more text, so it has read more; its
# window of 64 tokens reaches further back; and stories from a grammar have few words, so 2,048 tokens hold nearly all of
# them. It also has twice the parameters. What a vocabulary costs, and when it stops paying, was lecture 01.

# %% [markdown]
# ## 7 · The critical batch
#
# A gradient over $B$ sequences is the true gradient $G$ plus noise, whose mean square is $\operatorname{tr}(\Sigma)/B$.
# While noise is the larger part, twice the batch is a twice as good step; once the signal is, a larger batch is a
# waste. McCandlish et al. (1812.06162) call the batch where the two are equal the *simple noise scale* (噪声尺度),
#
# $$B_\text{simple} = \frac{\operatorname{tr}(\Sigma)}{|G|^2},$$
#
# and predict the steps $S$ that a batch $B$ needs to reach a given loss: $S = S_\min\,(1 + B_\text{crit}/B)$. Two
# batch sizes are enough to measure it, because $\mathbb{E}|G_B|^2 = |G|^2 + \operatorname{tr}(\Sigma)/B$.
#
# **Predict.** Does the noise scale grow or fall while a model trains?

# %% tags=["timing"]
guess = None  # grow or fall

SMALL = BASE.replace(d_model=48, d_ff=128, num_layers=1)
STEPS = (1, 20, 60, 150)


def watch_noise(step: int, model: nn.Module) -> dict:
    """The noise scale in tokens, at a few steps."""
    if step not in STEPS:
        return {}
    return {"noise": noise_scale(model, DATA["train"], seq=64, batches=128, seed=step).tokens}


if HAVE_MODEL.or_show("noise scale"):
    noise = train(SMALL, replace(PLAN, steps=150, lr=6e-3), DATA["train"], observe=watch_noise)
    scales = dict(zip(STEPS, noise.values("noise")))
    for step, scale in scales.items():
        print(f"step {step:>3}, loss {noise.values()[step - 1]:.2f}: {scale:>8,.0f} tokens")
    reveal("from the first step to the last", f"{scales[150] / scales[1]:.0f} times", guess)
    assert scales[150] > 3 * scales[1], YOURS

# %% [markdown]
# So the best batch grows with training, which is why large runs raise it on the way; Llama 2 kept 4 million tokens
# throughout (2307.09288), GPT-3 reached 3.2 million.
#
# Now the direct way: train with batches of 2 to 128 sequences, each with its own best learning rate, and count steps
# and tokens until the held-out loss is below a target.
#
# **Predict.** From 2 to 128 sequences, 64 times the batch: how many times fewer steps, how many times more tokens?

# %%
guess = None  # (fewer steps, more tokens)

BATCHES = {2: 1_000, 8: 400, 32: 150, 128: 60}  # sequences -> steps
FLAT = {"schedule": "constant", "weight_decay": 0.0}
SIZES = {
    f"{b}": (SMALL, FLAT | {"batch_size": b, "steps": steps, "eval_every": steps // 50, "eval_batches": 128 // b})
    for b, steps in BATCHES.items()
}
batches = long("04_batch.json", SIZES, LRS)
print(source("04_batch.json"))
target = max(min(run["curve"]) for found in batches for run in found["runs"]) + 0.02  # what every run reaches
needed = {}
for found, (b, steps_in_all) in zip(batches, BATCHES.items()):
    reached = [next(i for i, x in enumerate(run["curve"], 1) if x <= target) for run in found["runs"]]
    needed[b] = interval(i * (steps_in_all // 50) for i in reached)
    mean, half = needed[b]
    print(f"batch {b:>3}, lr {found['lr']:g}: {mean:5.0f} ± {half:3.0f} steps, {mean * b * 64:>7,.0f} tokens")
few, many = needed[2][0] / needed[128][0], 64 * needed[128][0] / needed[2][0]
reveal("fewer steps, more tokens", f"{few:.0f} times, {many:.1f} times", guess)

# %%
sizes, steps_needed = np.array(list(needed)), np.array([mean for mean, _ in needed.values()])


def log_steps(b: np.ndarray, log_least: float, log_critical: float) -> np.ndarray:
    return log_least + np.log1p(np.exp(log_critical) / b)


(log_least, log_critical), _ = curve_fit(log_steps, sizes, np.log(steps_needed), p0=(3, 3))
critical = np.exp(log_critical) * 64
print(f"to reach {target:.2f} nats: at least {np.exp(log_least):.0f} steps, critical batch {critical:,.0f} tokens")

# %%
fig, ax = axes(xlabel="batch (tokens)", ylabel=f"steps to {target:.2f} nats", size=(6.4, 3.2))
curve = np.geomspace(1, 256, 100)
ax.plot(
    curve * 64, np.exp(log_steps(curve, log_least, log_critical)), color=COLORS["black"], label="S_min (1 + B_crit / B)"
)
ax.errorbar(
    sizes * 64,
    steps_needed,
    [half for _, half in needed.values()],
    fmt="o",
    color=COLORS["vermillion"],
    capsize=3,
    label="measured",
)
ax.axvline(critical, color="#888888", linestyle=":", label="critical batch")
ax.set(xscale="log", yscale="log", title="A larger batch saves steps, up to the critical one")
assert needed[2][0] > 3 * needed[8][0] and needed[32][0] < 2.2 * needed[128][0] and 1_000 < critical < 10_000
finish(fig)

# %% [markdown]
# From 2 to 8 sequences, steps fall by nearly the whole factor of 4: the same tokens, a quarter of the steps. From 32 to
# 128 they fall by less than 2, and the tokens double. The best rate rises with the batch, from 3e-3 to 1.2e-2, which
# are the ends of our grid: at 2 and at 128 sequences a still better rate may lie outside.
#
# The noise scale above and the critical batch here are two measurements of the same idea, and they agree in kind, not in
# digits: one looks at a gradient at one moment, with plain gradient descent in mind, the other at a whole run of AdamW.
# Critical batches of large models are larger, because their losses, and so the signals, are smaller.

# %% [markdown]
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | T5 uses `d_ff` = 64 `d_model` | Only the 11B: 65,536 / 1,024 (1910.10683). Its 3B has 16, the smaller ones 4, version 1.1 about 2.5. |
# | The aspect ratio is parameters per layer | `d_model / num_layers`, about 100 to 200; GPT-3 and Llama 2 7B have 128. |
# | Vocabularies are 100,000 to 200,000 | Recent and multilingual ones; GPT-2 50,257, Llama 2 32,000. |
# | Lion: β = (0.95, 0.98), rate 5e-5, weight decay 0.8 | The paper's default is β = (0.9, 0.99), with a rate 3 to 10 times smaller and a weight decay 3 to 10 times larger than AdamW's; it suggests (0.95, 0.98) where training is unstable. The rest is one run. |
# | Early dropout helps pre-training | The evidence is from vision models that underfit (2303.01500). Ours is above. |
# | Weight decay prevents overfitting | Where text is seen once there is nothing to prevent (2310.04415); where it is repeated, see above. |
# | Pre-norm needs no warmup | It tolerates its absence; warmup is used all the same. Lecture 05. |
# | Larger batches are better | Below the critical batch they save steps, above it they waste tokens. |

# %% [markdown]
# ## What you built
#
# No module: the engine that trained all of this is `cs336lite.training`, which
# [appendix 04x](appendix/04x_engine.ipynb) builds and explains.
#
# ## Limits
#
# - All of it at 167,000 parameters, some 50,000 to 160,000 tokens a run, on text from a grammar. A basin may move with
#   size: for learning rates, it does (lecture 08). Where our scale shows no effect, that is all it shows.
# - Three seeds give wide intervals; effects below a few hundredths of a nat are beyond them.
# - A grid of two or three rates finds an arm's best rate to a factor of about two.
# - Windows begin anywhere and cross from one story into the next; a large run would pack documents and mask.
#
# ## Sources
#
# Kaplan et al. 2020 (arXiv 2001.08361) · T5 (1910.10683) · GPT-3 (2005.14165) · Llama 2 (2307.09288) · PaLM (2204.02311)
# · BLOOM (2211.05100) · Loshchilov and Hutter, AdamW (1711.05101) · Chen et al., Lion (2302.06675) · D'Angelo et al.,
# weight decay (2310.04415) · McCandlish et al., the noise scale (1812.06162) · Liu et al., early dropout (2303.01500) ·
# Bergsma et al., linear to zero (2502.15938) · Hu et al., MiniCPM and WSD (2404.06395) · Shazeer, GLU variants
# (2002.05202).
#
# ## Next
#
# Lecture **05 · stability**: what breaks when the learning rate is too high, and the tricks that hold it together.

# %%
finished("04_hyperparameters")
