r"""Hidden checks of a7_parallel: 100 points.

Each exercise has one check of all of it together on ordinary input, which carries most of its points; the others say why,
and each looks at one thing alone. **The ranks are driven from here.** `drive_ranks` runs, beside the student's code, a rank
from its beginning through all answers that it has had, and says what it yields next; `play` carries messages, adds, counts
bytes and finds deadlocks on this side. So nothing that a submission does to `cs336lite.collectives` matters: requests are
known by their names and by what they hold, and are copied as soon as they are yielded.

A rank could know what others hold without a message, through a global variable. So each ``together`` plays once more with
one answer spoilt, and a result that does not change is no result of what arrived.
"""

WARM = ("torch", "einops", "jaxtyping")
REFUSED = ("torch.distributed.*",)
READ = {  # where to read on, by exercise
    "ring": (
        "Patarasuk and Yuan 2009, sections 3 and 4; in the assignment the table of four steps",
        "https://doi.org/10.1016/j.jpdc.2008.09.002",
    ),
    "buckets": ("Li et al. 2020, PyTorch Distributed, section 3.2", "https://arxiv.org/abs/2006.15704"),
    "zero": ("Rajbhandari et al. 2019, ZeRO, section 5.1", "https://arxiv.org/abs/1910.02054"),
    "tensor": ("Shoeybi et al. 2019, Megatron-LM, section 3", "https://arxiv.org/abs/1909.08053"),
    "pipeline": ("Narayanan et al. 2021, section 2.2.1 and figure 4", "https://arxiv.org/abs/2104.04473"),
}
ORDER = ("ring", "buckets", "zero", "tensor", "pipeline")  # of what is run: files of this folder
