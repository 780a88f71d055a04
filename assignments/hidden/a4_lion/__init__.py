r"""Hidden checks of a4_lion: 100 points, judged through the class `Lion` and through `lion_update_foreach_`.

40 points are for what works together: a direction, an update, a training loop and a list of tensors, on ordinary input
and compared with values. The other checks tell what is wrong, and each is for one thing.

A step of Lion is a sign, so what can be seen of momentum and interpolation is where signs turn. Gradients are drawn so that
every usual misconception (which weights, which order, what is kept) gives other signs than the right algorithm and than
every other misconception: the signs of a solution then tell what it does. A solution that climbs, or whose steps have
another size, loses the points of that and not those of the momentum. What an optimizer does with groups, missing
gradients and checkpoints is judged by comparing runs of the same solution.

None of this says anything of what is no Lion at all: each check first asks for some steps, and goes on when they are those
of a Lion with whatever mistake (`look`, in `signs`). Where the class shows none, because it fails or nothing moves, the
direction and the update are looked for in `lion_update_` and `lion_direction`: what is right there is not lost with the
class. All comparing is done here. The student's side only computes: it tells the numbers before and after, and not whether
they are the same.
"""

import torch

WARM = ("torch", "einops", "jaxtyping", "torch.utils._python_dispatch")  # imported once, before a worker forks
OPTIMIZERS = (
    *("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS", "Muon", "NAdam", "RAdam"),
    *("RMSprop", "Rprop", "SGD", "SparseAdam"),
)
REFUSED = (  # another optimizer by the name of Lion
    *(f"torch.optim.{name}.step" for name in OPTIMIZERS),
    *sorted({getattr(torch.optim, name).__module__ for name in OPTIMIZERS}),  # the functions that do the work
    *("torch.optim._functional", "*_fused_adam*", "*_fused_sgd*", "*_fused_adagrad*"),
)
PAPER = "https://arxiv.org/abs/2302.06675"
READ = {  # where to read on, by exercise
    "direction": ("Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2", PAPER),
    "update": ("Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization", "https://arxiv.org/abs/1711.05101"),
    "foreach": "Section 3 of the assignment, Many tensors at once",
    "optimizer": "Section 4 of the assignment; in the manual of PyTorch, torch.optim.Optimizer",
}
ORDER = (  # of what is run: files of this folder, and a check that runs later than its file
    *("direction", "update", "foreach"),
    *("optimizer", "optimizer_in_torch", "optimizer_arguments", "optimizer.a_training_loop"),
)
