r"""Hidden checks of a1_bpe: 100 points, judged through `train_bpe` and `Tokenizer` alone.

Expected answers come from the slow trainer and encoder in `definition`, which follow it word by word. A misconception is
the same trainer with one part replaced, so a wrong answer can be recognised and named. Inputs are drawn afresh for every
course. Most points are for what people do with a tokenizer: an ordinary text is learned, encoded, streamed. All
other checks say why that fails. Each meets one difficulty and no other, and first asks whether a text without any is
learned, so that it never speaks of what it has not seen. What CS336 leaves open (ids, their order, an empty list of
special tokens) costs the points of its own check and of no other.
Inputs and expected answers follow from the seed alone, so both are remembered while a class is judged.
"""

WARM = ("regex", "numpy")  # imported once, before a worker forks
WHERE_NAMED = ("torch",)  # for those who use it all the same
LECTURE = "notebooks/01_tokenizer.ipynb"
READ = {  # where to read on, by exercise
    "pretokenize": ("Lecture 01, section 3, Where does a word end?", LECTURE),
    "count_pairs": ("Lecture 01, section 5, Byte-pair encoding", LECTURE),
    "merge": ("Lecture 01, section 5, Byte-pair encoding", LECTURE),
    "train": ("Lecture 01, section 5, Byte-pair encoding", LECTURE),
    "encode": ("Lecture 01, section 5, Byte-pair encoding", LECTURE),
    "decode": ("Lecture 01, section 1, Text is characters, stored as bytes", LECTURE),
    "special_tokens": ("Lecture 01, section 6, Special tokens", LECTURE),
    "encode_iterable": ("Lecture 01, section 3, Where does a word end?", LECTURE),
}
ORDER = (  # of what is run: files of this folder
    *("pretokenize", "count_pairs", "merge", "train", "train_speed"),
    *("encode", "decode", "special_tokens", "encode_iterable"),
)
