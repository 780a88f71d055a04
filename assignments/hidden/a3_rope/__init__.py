r"""Hidden checks of a3_rope: 100 points, judged through the class and the four functions that the assignment names.

Each exercise ends with one check *together*: ordinary input, judged by the formula, with its gradient. These carry 40
points. The checks before them say why. A rotary embedding is linear, so asking it for the unit vectors gives the whole
matrix $R_m$ of each position. A check that diagnoses reads one property off these matrices (which dimensions form pairs,
how fast, in which direction), or compares answers of one solution with each other (position 7 in a batch with position 7
in a row). So a solution that turns the wrong way loses the points of the direction and of what is wrong for it as a
whole, and not those of speeds or positions. `rotary_attention` and `rotate_part` are given a rotation of ours, so they do
not suffer from a wrong class.

What only agrees with itself is no rotation yet. So every check of the class first sees something turn (`Probe`, in
`matrices`): two dimensions that walk round a circle as the position grows, at whatever speed, in whatever direction, and
random vectors that are turned as the unit vectors are. What only goes wrong in a special case is told as that only when
the plain call works (`rotated`, in `asking`).
"""

WARM = ("torch", "einops", "jaxtyping")  # what a worker imports once, before it forks
REFUSED = ("torch.onnx.ops.rotary_embedding", "*rotary*")
PAPER = "https://arxiv.org/abs/2104.09864"
READ = {  # where to read on, by exercise
    "angles": ("RoFormer (arXiv 2104.09864), section 3.2.2, General form", PAPER),
    "rotation": ("RoFormer (arXiv 2104.09864), section 3.4.2, Computational efficient realization", PAPER),
    "layouts": "Section 3 of the assignment, Two layouts",
    "positions": "Section 4 of the assignment, Any positions",
    "module": "Section 5 of the assignment; in the manual of PyTorch, register_buffer of torch.nn.Module",
    "relative": ("RoFormer (arXiv 2104.09864), section 3.2.1, 2D case", PAPER),
    "partial": "Section 7 of the assignment, A part of the head",
}
ORDER = ("angles", "rotation", "layouts", "positions", "module", "relative", "partial")  # of what is run: files
