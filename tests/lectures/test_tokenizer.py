"""The module that lecture 01 builds: round trips, the published patterns, errors, and its examples."""

import doctest
import string

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

import cs336lite.tokenizer as module
from cs336lite.tokenizer import (
    CL100K_PATTERN,
    CL100K_RULES,
    GPT2_PATTERN,
    ByteTokenizer,
    CharacterTokenizer,
    WordTokenizer,
    split_pattern,
    well_formed,
)

AWKWARD = [
    "",
    " ",
    "\n",
    "a  b",
    "line\r\n\r\n  next\t\tend   ",
    "naïve café 東京 🙂👨‍👩‍👧 हिन्दी",
    "<|endoftext|>",
    "e\u0301 \u00a0\u3000\u2028\x00\x1f",
    "I'LL it's ''ll 'S 'dd",
    "12345 ²³½ ٣٤٥ ⅷ",
    "the end\n  ",
    " \n \t",
]
# letters, digits, spaces and line ends of several scripts, so that short random texts meet every rule
CHARACTERS = string.ascii_letters + string.digits + "'sdmtlvre  \t\n\r\u00a0\u3000.,!?_-()<|>éßя中文हि्٣½²🙂\u200d"
# code points that Unicode has given to a character: `regex` takes some of the others for letters, and tiktoken does not
assigned = st.text(alphabet=st.sampled_from(CHARACTERS), max_size=40) | st.text(
    alphabet=st.characters(exclude_categories=("Cn", "Cs")), max_size=40
)
texts = st.text(alphabet=st.sampled_from(CHARACTERS), max_size=40) | st.text(max_size=40)


def test_examples_in_docstrings():
    result = doctest.testmod(module)
    assert result.attempted >= 6
    assert result.failed == 0


def test_everything_public_is_documented_and_says_where_it_was_built():
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) == module.__name__:
            assert "Built in notebooks/01_tokenizer.ipynb." in value.__doc__, name


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer(), ByteTokenizer()], ids=lambda t: type(t).__name__)
@given(text=texts)
def test_characters_and_bytes_round_trip_any_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert all(isinstance(i, int) and 0 <= i < tokenizer.vocab_size for i in ids)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(iter(ids)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ud83d", "\ufffd"),
        ("a\udc4d\ud83d", "a\ufffd\ufffd"),
        ("pdf \udbc0 text", "pdf \ufffd text"),
        ("\ud83d\udc4d", "👍"),
        ("\ufeffa", "\ufeffa"),
        ("\ufffea", "\ufffea"),
    ],
)
def test_surrogates_are_joined_or_replaced(text, expected):
    tokenizers = {"characters": CharacterTokenizer(), "bytes": ByteTokenizer(), "words": WordTokenizer(text)}
    assert well_formed(text) == expected
    for name, tokenizer in tokenizers.items():
        assert tokenizer.decode(tokenizer.encode(text)) == expected, name
    assert CharacterTokenizer().decode(map(ord, text)) == expected


@given(text=texts)
def test_well_formed_leaves_text_alone(text):
    assert well_formed(text) == text


@given(text=texts)
def test_lengths_are_code_points_and_utf8_bytes(text):
    assert len(CharacterTokenizer().encode(text)) == len(text)
    assert bytes(ByteTokenizer().encode(text)) == text.encode("utf-8")


def test_bytes_that_are_not_utf8_are_replaced_not_raised():
    assert ByteTokenizer().decode([0xE4, 0xB8]) == "\ufffd"
    assert ByteTokenizer().decode([0xFF, 65]) == "\ufffdA"


@pytest.mark.parametrize(
    ("tokenizer", "bad"),
    [(CharacterTokenizer(), 0x110000), (ByteTokenizer(), 256), (ByteTokenizer(), -1), (WordTokenizer("a b"), 3)],
)
def test_unknown_id_is_named_with_its_position(tokenizer, bad):
    with pytest.raises(ValueError, match=rf"id {bad} at position 1 .* 0 to {tokenizer.vocab_size - 1}"):
        tokenizer.decode([0, bad])


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer(), ByteTokenizer(), WordTokenizer("a b")])
def test_ids_may_be_arrays_and_must_be_whole_numbers(tokenizer):
    numpy = pytest.importorskip("numpy")
    assert tokenizer.decode(numpy.array([1, 2], dtype="uint16")) == tokenizer.decode([1, 2])
    with pytest.raises(TypeError, match="float"):
        tokenizer.decode(iter([1.0]))
    with pytest.raises(TypeError, match="list"):
        tokenizer.decode(iter([[1]]))


def test_words_round_trip_what_they_know_and_lose_what_they_do_not():
    words = WordTokenizer("the cat and the dog\n")
    assert words.decode(words.encode("the dog and the cat\n")) == "the dog and the cat\n"
    assert words.encode("the cow")[1] == 0
    assert words.decode(words.encode("the cow")) == "the<unk>"


def test_word_ids_follow_falling_frequency():
    words = WordTokenizer("one two two three three three")
    assert words.pieces == ["<unk>", " three", " two", "one"]
    assert words.vocab_size == 4


def test_words_of_no_text_know_nothing():
    words = WordTokenizer("")
    assert words.vocab_size == 1
    assert words.encode("a b") == [0, 0]


def test_word_that_looks_like_unk_keeps_its_text():
    words = WordTokenizer("a <unk> b", pattern=r"\S+|\s+")
    assert words.decode(words.encode("b <unk> a")) == "b <unk> a"


# ------------------------------------------------------------------------------------------------------- patterns


def test_gpt2_pattern_is_the_one_of_the_assignment():
    assert GPT2_PATTERN == r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@pytest.mark.parametrize(
    ("text", "gpt2", "cl100k"),
    [
        ("Hello world", ["Hello", " world"], ["Hello", " world"]),
        ("we'll WE'LL", ["we", "'ll", " WE", "'", "LL"], ["we", "'ll", " WE", "'LL"]),
        ("x = 1234567", ["x", " =", " 1234567"], ["x", " =", " ", "123", "456", "7"]),
        ("a   b", ["a", "  ", " b"], ["a", "  ", " b"]),
        ("f(x)\n\ny", ["f", "(", "x", ")", "\n", "\n", "y"], ["f", "(x", ")\n\n", "y"]),
        ("\treturn", ["\t", "return"], ["\treturn"]),
        ("a\n  b", ["a", "\n ", " b"], ["a", "\n", " ", " b"]),
        ("end  ", ["end", "  "], ["end", "  "]),
        ("你好，世界。", ["你好", "，", "世界", "。"], ["你好", "，世界", "。"]),
        ("ok!!! 🙂", ["ok", "!!!", " 🙂"], ["ok", "!!!", " 🙂"]),
    ],
)
def test_known_splits(text, gpt2, cl100k):
    assert split_pattern(text) == split_pattern(text, GPT2_PATTERN) == gpt2
    assert split_pattern(text, CL100K_PATTERN) == cl100k


def published(name: str) -> str:
    """The pattern that the installed tiktoken ships, without the vocabulary, which lies on the network."""
    public = pytest.importorskip("tiktoken_ext.openai_public")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(public, "load_tiktoken_bpe", lambda *args, **kwargs: {})
        patch.setattr(public, "data_gym_to_mergeable_bpe_ranks", lambda *args, **kwargs: {})
        return public.ENCODING_CONSTRUCTORS[name]()["pat_str"]


PUBLISHED = [("gpt2", GPT2_PATTERN), ("cl100k_base", CL100K_PATTERN)]


def test_the_pattern_of_gpt4_is_tiktokens_own_word_by_word():
    assert published("cl100k_base") == CL100K_PATTERN


@pytest.mark.parametrize(("name", "ours"), PUBLISHED)
def test_patterns_cut_like_the_published_ones(name, ours):
    theirs = regex.compile(published(name).replace("$", r"\Z"))  # Python's $ also matches before a last line end

    @given(text=texts)
    def agree(text):
        assert split_pattern(text, ours) == theirs.findall(text)

    agree()
    for text in AWKWARD:
        assert split_pattern(text, ours) == theirs.findall(text)


@pytest.mark.parametrize(("name", "ours"), PUBLISHED)
def test_tiktoken_itself_cuts_where_our_pieces_end(name, ours):
    """With a vocabulary in which any two bytes are a token, ids tell where tiktoken's pieces begin."""
    tiktoken = pytest.importorskip("tiktoken")
    single = [bytes([byte]) for byte in range(256)]
    ranks = {token: i for i, token in enumerate([*single, *(a + b for a in single for b in single)])}
    theirs = tiktoken.Encoding("pairs", pat_str=published(name), mergeable_ranks=ranks, special_tokens={})

    @given(text=assigned)
    def agree(text):
        pieces = split_pattern(well_formed(text), ours)
        assert theirs.encode_ordinary(text) == [
            i for piece in pieces for i in theirs._encode_single_piece(piece.encode())
        ]

    agree()
    for text in AWKWARD:
        pieces = split_pattern(text, ours)
        assert theirs.encode_ordinary(text) == [
            i for piece in pieces for i in theirs._encode_single_piece(piece.encode())
        ]


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, CL100K_PATTERN])
@given(text=texts)
def test_no_pattern_loses_a_character(pattern, text):
    pieces = split_pattern(text, pattern)
    assert "".join(pieces) == text
    assert all(pieces)


@given(text=texts)
def test_cl100k_numbers_have_at_most_three_digits(text):
    digits = regex.compile(r"\p{N}+")
    assert all(len(piece) <= 3 for piece in split_pattern(text, CL100K_PATTERN) if digits.fullmatch(piece))
    assert list(CL100K_RULES)[:2] == ["contraction", "letters"]


def test_pattern_that_skips_a_character_is_an_error():
    with pytest.raises(ValueError, match=r"skips ' ' at position 3"):
        split_pattern("two words", r"\w+")
    with pytest.raises(ValueError, match=r"skips '!' at position 3"):
        split_pattern("two!", r"\w+")
    assert split_pattern("", r"\w+") == []


def test_pattern_with_groups_gives_whole_pieces():
    assert split_pattern("ab cd", r"(\w)(\w)|(\s)") == ["ab", " ", "cd"]
