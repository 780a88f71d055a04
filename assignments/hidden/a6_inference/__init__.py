r"""Hidden checks of a6_inference: 100 points.

Each exercise has one check of all of it together on ordinary input, which carries most of its points; the others say why,
and each looks at one thing alone. Nothing is judged by frequencies: random numbers are arguments, so distributions are
compared number by number, or case by case over a grid of random numbers, whose weights add up to probabilities.

The definitions that answers are compared with are slow and in float64, and stand with their checks: attention over a whole
text, filters that look at one token after another, a paged cache that is a dict of lists. A check of something special
begins with the plain case, so that what does nothing does not pass it. All comparing is done here; drivers only call.
"""

WARM = ("torch", "einops", "jaxtyping")
REFUSED = ()  # torch has no cache, no filters and no accept rule; softmax, sort and round are not what is asked
READ = {  # where to read on, by exercise
    "cache": "Section 1 of the assignment; in lecture 09 the section on what is kept",
    "sampling": (
        "Holtzman et al. 2019, section 3.1, and the line from 0 to 1 in section 2",
        "https://arxiv.org/abs/1904.09751",
    ),
    "speculative": ("Leviathan et al. 2022, algorithm 1 and appendix A.1", "https://arxiv.org/abs/2211.17192"),
    "paged": ("Kwon et al. 2023, PagedAttention, sections 4.2 and 4.4", "https://arxiv.org/abs/2309.06180"),
    "quantize": ("Dettmers et al. 2022, LLM.int8(), section 2.1", "https://arxiv.org/abs/2208.07339"),
}
ORDER = ("cache", "sampling", "speculative", "paged", "quantize")  # of what is run: files of this folder
