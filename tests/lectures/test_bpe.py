"""Byte-pair encoding: against its definition, against three libraries, and in what it costs."""

import bz2
import copy
import gzip
import inspect
import json
import lzma
import os
import random
import re
import threading
import tracemalloc
from itertools import pairwise
from pathlib import Path

import bpe_oracle
import pytest
import regex
from helpers import run
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336lite import bpe
from cs336lite.bpe import PATTERN, Encoder, Tokenizer, count_pairs, merge_pair, pretokenize, safe_segments, train_bpe

END = "<|endoftext|>"
SPECIALS = [
    [],
    [END],
    ["<a>", "<a><b>", "<b>"],
    ["a b", "\n\n", " "],
    ["aa", "a"],
    ["é", "字 "],
    ["<a>", "a b", "@ long one @"],
]
RULES = ["cs336", "huggingface", "rustbpe"]
# Every kind of character that the pattern tells apart, white space that `re` and `regex` see differently, and
# characters of one to four bytes.
CHARACTERS = "aaabbc  \n\n\r\t'stlv019.,!<>|é\u0301字典。🙂\u00a0\u3000\u2003\u2028\x1c\x1f\x85\u00b2\u216b\x00"
TEXT = st.text(st.sampled_from(CHARACTERS), max_size=60)
PIECES = [
    "<a>",
    "<b>",
    "<",
    END,
    "<|endof",
    "aaaa",
    "a b",
    " the",
    "the",
    "'s",
    "'l",
    "l",
    "'",
    "  ",
    "\r\n",
    "hello",
    "字 ",
    "@ long",
    " one @",
    "@ long one @",
]
RICH = st.lists(st.one_of(st.sampled_from(PIECES), TEXT), max_size=8).map("".join)
FAST = settings(derandomize=True, deadline=None, max_examples=150)
FEW = settings(derandomize=True, deadline=None, max_examples=40)


@pytest.fixture(scope="module")
def prose() -> str:
    """Some text with everything in it: prose, code, contractions, numbers, Chinese, emoji, CRLF, special tokens."""
    rng = random.Random(7)
    stems = [
        "token",
        "merge",
        "learn",
        "read",
        "un",
        "ing",
        "er",
        "pair",
        "byte",
        "the",
        "a",
        "of",
        "字节",
        "编码",
        "naïve",
    ]
    words = ["".join(rng.choices(stems, k=rng.choice([1, 1, 2, 3]))) for _ in range(700)]
    ends = [
        "",
        "",
        "",
        "",
        ",",
        ".",
        "'s",
        "'ll",
        " = 3.14",
        "(x)",
        "\r\n",
        "\n\n    ",
        "  ",
        "。",
        " 🙂",
        END,
        "\u3000",
    ]
    return "".join(" " * (rng.random() < 0.9) + rng.choice(words) + rng.choice(ends) for _ in range(9_000))


@pytest.fixture(scope="module")
def trained(prose, tmp_path_factory):
    path = tmp_path_factory.mktemp("bpe") / "prose.txt"
    path.write_bytes(prose.encode())
    return path, *train_bpe(path, 1_000, [END])


def write(folder, data: bytes):
    path = folder / "corpus"
    path.write_bytes(data)
    return path


# The small functions


@FAST
@given(RICH, st.sampled_from(SPECIALS))
def test_pretokens_are_those_of_the_pattern_between_special_tokens(text, specials):
    parts = bpe_oracle.cut_at_special(text, specials)[::2]
    assert pretokenize(text, specials) == [piece for part in parts for piece in regex.findall(PATTERN, part)]


def test_the_plain_pattern_agrees_with_the_pattern_on_every_ascii_neighbourhood():
    kinds = "aZ0 \t\n\r\x0b\x1c\x1f\x00'slv!_\x7f"
    for text in (a + b + c + d for a in kinds for b in kinds for c in kinds for d in kinds):
        assert bpe._find_pretokens(text) == regex.findall(PATTERN, text), repr(text)


def test_white_space_is_that_of_the_pattern():
    every = "".join(map(chr, range(0x110000)))
    assert re.findall(f"[{bpe._SPACE}]", every) == regex.findall(r"\s", every)


@FAST
@given(st.lists(st.sampled_from([b"a", b"b", b"aa", b"ab"]), max_size=12).map(tuple), st.sampled_from([b"a", b"b"]))
def test_merge_pair_and_count_pairs(word, first):
    for pair in [(first, b"a"), (first, b"b")]:
        assert list(merge_pair(word, pair)) == bpe_oracle.merge(list(word), pair, pair[0] + pair[1])
    counts = count_pairs({word: 3, (*word, b"z"): 2})
    assert sum(counts.values()) == 3 * max(0, len(word) - 1) + 2 * len(word)
    assert all(type(pair) is tuple and n > 0 for pair, n in counts.items())


# Training


@pytest.mark.parametrize("tie_break", RULES)
@FAST
@given(text=RICH, specials=st.sampled_from(SPECIALS), extra=st.integers(0, 40))
def test_training_equals_the_definition(tmp_path_factory, tie_break, text, specials, extra):
    data = text.encode()
    path = write(tmp_path_factory.getbasetemp(), data)
    size = 256 + len(specials) + extra
    expected = bpe_oracle.train(data, size, specials, tie_break)
    assert train_bpe(path, size, specials, tie_break=tie_break) == expected


@pytest.mark.parametrize("tie_break", RULES)
def test_training_equals_the_definition_where_the_floor_falls_many_times(tmp_path, monkeypatch, prose, tie_break):
    # As in a large corpus, where far fewer pairs are followed than there are.
    floors = []

    def noting(*arguments, original=bpe._frequent_pairs):
        answer = original(*arguments)
        floors.append(answer[2])
        return answer

    monkeypatch.setattr(bpe, "_FOLLOWED_PAIRS", 5)
    monkeypatch.setattr(bpe, "_frequent_pairs", noting)
    data = prose[:8_000].encode()
    expected = bpe_oracle.train(data, 600, [END], tie_break)
    assert train_bpe(write(tmp_path, data), 600, [END], tie_break=tie_break) == expected
    assert len(floors) > 2
    assert all(later <= earlier // 2 for earlier, later in pairwise(floors))


@pytest.mark.parametrize("tie_break", RULES)
@FEW
@given(text=st.lists(st.one_of(RICH, st.sampled_from(["aab" * 9, "a" * 21, "abcabd" * 5]))).map("".join))
def test_long_words_are_merged_as_short_ones_are(tmp_path_factory, tie_break, text):
    path = write(tmp_path_factory.getbasetemp(), text.encode())
    expected = bpe_oracle.train(text.encode(), 290, [END], tie_break)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe, "_FOLLOWED_PAIRS", 2)  # so that words are laid out and taken up many times
        for length in (2, 5, 20):
            patch.setattr(bpe, "_LONG_WORD", length)
            assert train_bpe(path, 290, [END], tie_break=tie_break) == expected


@pytest.mark.parametrize("seed", range(12))
def test_counting_in_chunks_equals_counting_the_whole(tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    pieces = [*PIECES, *CHARACTERS, "字" * 9, "the cat sat on the mat\n" * 3]
    data = "".join(rng.choices(pieces, k=300)).encode() + rng.randbytes(50) + "。\n".encode() * 20 + bytes(range(256))
    data = b"".join(data[i : i + 40] + b"\xe5\xad" * (i % 3 == 0) for i in range(0, len(data), 40))  # not UTF-8
    path = write(tmp_path, data)
    specials = SPECIALS[seed % len(SPECIALS)]
    whole = bpe._count_file(path, specials, 1, False)
    text = data.decode("utf-8", "replace")
    expected = {}
    for piece in (q for part in bpe_oracle.cut_at_special(text, specials)[::2] for q in regex.findall(PATTERN, part)):
        expected[piece] = expected.get(piece, 0) + 1
    assert whole == expected
    for size in (1, 2, 3, 7, 40, 1_000):
        monkeypatch.setattr(bpe, "_CHUNK_BYTES", size)
        monkeypatch.setattr(bpe, "_WINDOW_BYTES", max(1, size // 3))
        monkeypatch.setattr(bpe, "_COARSE_PIECES", size)
        cuts = bpe._chunk_cuts(path, len(data), specials)
        assert cuts[0] == 0 and cuts[-1] == len(data) and all(a < b for a, b in pairwise(cuts))
        assert len(cuts) > (20 if size < 40 else 2)
        assert bpe._count_file(path, specials, 1, False) == expected


@pytest.mark.parametrize("data", ["字" * 3_000, "a" * 9_000, "\u3000" * 3_000, " " * 9_000, "字。\n" * 1_500])
def test_a_file_with_hardly_a_place_to_cut(tmp_path, monkeypatch, data):
    monkeypatch.setattr(bpe, "_CHUNK_BYTES", 100)
    monkeypatch.setattr(bpe, "_WINDOW_BYTES", 30)
    path = write(tmp_path, data.encode())
    cuts = bpe._chunk_cuts(path, len(data.encode()), [END])
    assert (len(cuts) > 100) if "\n" in data else (len(cuts) == 2)
    counts = {}
    for piece in regex.findall(PATTERN, data):
        counts[piece] = counts.get(piece, 0) + 1
    assert bpe._count_file(path, [END], 1, False) == counts


def test_several_processes_count_what_one_does(tmp_path, monkeypatch, prose):
    monkeypatch.setattr(bpe, "_CHUNK_BYTES", 20_000)
    path = write(tmp_path, prose.encode())
    one = train_bpe(path, 600, [END], num_processes=1)
    asked = []

    def noting(*job, original=bpe._count_elsewhere):
        answer = original(*job)
        asked.append(answer)
        return answer

    monkeypatch.setattr(bpe, "_count_elsewhere", noting)
    assert train_bpe(path, 600, [END], num_processes=3) == one
    assert len(asked) == 2 and all(asked)  # two interpreters answered


def test_where_processes_are_forbidden_one_counts_alone(tmp_path, monkeypatch, prose):
    monkeypatch.setattr(bpe, "_CHUNK_BYTES", 20_000)
    path = write(tmp_path, prose.encode())
    one = train_bpe(path, 400, [END], num_processes=1)

    def forbidden(*arguments, **options):
        raise PermissionError("no processes here")

    monkeypatch.setattr(bpe.subprocess, "run", forbidden)
    assert train_bpe(path, 400, [END], num_processes=3) == one


def test_source_that_cannot_be_imported_works_in_one_process(tmp_path, prose):
    # As in a notebook, where the functions live in __main__.
    space = {"__name__": "__main__"}
    source = (bpe.__loader__.get_source(bpe.__name__)).replace("_CHUNK_BYTES = 1 << 20", "_CHUNK_BYTES = 1 << 14")
    exec(compile(source, "notebook", "exec"), space)
    path = write(tmp_path, prose.encode())
    assert space["train_bpe"](path, 400, [END], num_processes=4) == train_bpe(path, 400, [END])


@pytest.mark.parametrize(
    ("data", "first"),
    [
        (b"ab\r\nab\r\n" * 3, (b"a", b"b")),  # the bytes as they are: \r\n is not read as \n
        (b"\r\n\r\n" * 9, (b"\r", b"\n")),
        (b"\xff\xfe" * 9, (b"\xbf", b"\xbd")),  # U+FFFD is EF BF BD
        ("🙂".encode() * 9, (b"\xf0", b"\x9f")),
    ],
)
def test_exact_bytes(tmp_path, data, first):
    vocab, merges = train_bpe(write(tmp_path, data), 260, [])
    assert (vocab, merges) == bpe_oracle.train(data, 260, [])
    assert (len(merges) <= 4 and first in merges) or first[0] + first[1] in b"".join(a + b for a, b in merges)


def test_empty_input_and_early_stop(tmp_path):
    vocab, merges = train_bpe(write(tmp_path, b""), 500, [END])
    assert merges == [] and len(vocab) == 257 and vocab[0] == END.encode() and vocab[1] == b"\x00"
    assert train_bpe(write(tmp_path, b"abc abc"), 500, [])[1] == bpe_oracle.train(b"abc abc", 500, [])[1]


def test_arguments_are_left_alone(tmp_path, trained):
    specials = ["<b>", "<a>"]
    train_bpe(write(tmp_path, b"aa<a>aa"), 300, specials)
    assert specials == ["<b>", "<a>"]
    _, vocab, merges = trained
    before = copy.deepcopy((vocab, merges))
    tokenizer = Tokenizer(vocab, merges, specials)
    tokenizer.encode("new <a><b> text")
    assert (vocab, merges) == before and specials == ["<b>", "<a>"]


def test_one_string_for_a_list_of_special_tokens_is_told(tmp_path):
    """In a process of its own: here the annotations are checked, and would speak first."""
    for call in (f"train_bpe({str(write(tmp_path, b'abc'))!r}, 300, {END!r})", f"Tokenizer({{}}, [], {END!r})"):
        error = run("python", "-c", f"from cs336lite.bpe import *; {call}", cwd=tmp_path).stderr
        assert "ValueError: special_tokens is one string" in error


def test_the_interface_is_the_one_that_others_rely_on():
    assert str(inspect.signature(train_bpe)).startswith(
        "(input_path: str | os.PathLike, vocab_size: int, special_tokens: list[str], *, tie_break: str = 'cs336', "
        "num_processes: int | None = None, progress: bool = False)"
    )
    for call, names in [
        (Tokenizer, ["vocab", "merges", "special_tokens"]),
        (Tokenizer.from_files, ["vocab_path", "merges_path", "special_tokens"]),
    ]:
        *positional, pattern = inspect.signature(call).parameters.values()
        assert [parameter.name for parameter in positional] == names
        assert pattern.name == "pattern" and pattern.kind is pattern.KEYWORD_ONLY
    for method in ("encode", "encode_iterable", "decode", "save"):
        assert callable(getattr(Tokenizer, method))


def test_errors_of_training_say_what_is_wrong(tmp_path):
    path = write(tmp_path, b"abc")
    for arguments, options, words in [
        ((256, [END]), {}, "vocab_size is 256, but 256 bytes and 1 special tokens need at least 257"),
        ((300, ["a", "b", "a"]), {}, "'a' more than once"),
        ((300, ["a", ""]), {}, "empty string"),
        ((300, []), {"tie_break": "first"}, "'first'.*'huggingface'"),
        ((300, []), {"num_processes": 0}, "num_processes is 0"),
    ]:
        with pytest.raises(ValueError, match=words):
            train_bpe(path, *arguments, **options)
    with pytest.raises(FileNotFoundError):
        train_bpe(tmp_path / "none", 300, [])


def test_a_merge_looks_only_at_the_words_that_hold_its_pair(tmp_path, monkeypatch):
    # By counts, not by seconds: twice the words, each with pairs of its own, must cost twice and not four times.
    def looks(words: int) -> int:
        rng = random.Random(3)
        stems = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=12)) for _ in range(words)]
        path = write(tmp_path, " ".join(stems).encode())
        total = 0

        def noting(pair, new, texts, freqs, pairs, where, floor, original=bpe._merge_everywhere):
            nonlocal total
            total += len(where[pair])
            return original(pair, new, texts, freqs, pairs, where, floor)

        with monkeypatch.context() as patch:
            patch.setattr(bpe, "_merge_everywhere", noting)
            patch.setattr(bpe, "_frequent_pairs", lambda texts, *rest, f=bpe._frequent_pairs: f(texts, *rest))
            train_bpe(path, 100_000, [])
        return total

    assert looks(400) < 2.6 * looks(200)


@pytest.mark.parametrize("letters", ["ACGT", "ACDEFGHIKLMNPQRSTVWY", "a", "=", " "])
def test_training_on_a_run_without_white_space_is_not_quadratic(tmp_path, monkeypatch, letters):
    # By what is looked at, not by seconds: the characters of each string that a merge searches.
    def looks(length: int) -> int:
        run = "".join(random.Random(4).choices(letters, k=length))
        total = 0

        def noting(pair, new, words, freqs, pairs, where, floor, original=bpe._merge_everywhere):
            nonlocal total
            total += sum(len(words.short[i]) if i < len(words.short) else 1 for i in where[pair])
            return original(pair, new, words, freqs, pairs, where, floor)

        with monkeypatch.context() as patch:
            patch.setattr(bpe, "_merge_everywhere", noting)
            train_bpe(write(tmp_path, run.encode()), 300, [])
        return total

    assert 0 < looks(8_000) < 2.6 * looks(4_000)


# What is in place of a file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_read_to_its_end(tmp_path, prose):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(prose.encode(),), daemon=True)
    writer.start()
    learned = train_bpe(tmp_path / "pipe", 400, [END])
    writer.join()
    assert learned == train_bpe(write(tmp_path, prose.encode()), 400, [END])


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no /proc here")
def test_a_file_whose_size_reads_zero_is_read_to_its_end(tmp_path):
    learned = train_bpe("/proc/version", 400, [])
    assert learned == train_bpe(write(tmp_path, Path("/proc/version").read_bytes()), 400, []) and learned[1]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, lambda data: b"(\xb5/\xfd" + data])
def test_compressed_files_are_refused(tmp_path, compress):
    path = write(tmp_path, compress(b"the cat sat on the mat " * 50))
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is compressed: decompress it first"):
        train_bpe(path, 300, [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_utf16_is_refused(tmp_path, encoding):
    with pytest.raises(ValueError, match="is text in UTF-16: save it as UTF-8"):
        train_bpe(write(tmp_path, "the cat\n".encode(encoding)), 300, [])


def test_a_folder_and_a_text_are_told_from_a_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        train_bpe(tmp_path, 300, [])
    for text in ("the cat sat", "the cat sat " * 1_000, "the\0cat"):
        with pytest.raises(FileNotFoundError, match="takes a path, not the text"):
            train_bpe(text, 300, [])


def test_arguments_of_another_type_are_told(tmp_path):
    path = str(write(tmp_path, b"abc"))
    for arguments, words in [
        ("300, None", "special_tokens is None: give a list of strings"),
        ("300, [b'<a>']", "special_tokens is [b'<a>']: give a list of strings"),
        ("300.0, []", "vocab_size is 300.0: give a whole number"),
    ]:
        call = f"from cs336lite.bpe import train_bpe; train_bpe({path!r}, {arguments})"
        assert f"TypeError: {words}" in run("python", "-c", call, cwd=tmp_path).stderr
    call = "from cs336lite.bpe import Tokenizer; Tokenizer({}, [], [b'<a>'])"
    assert "TypeError: special_tokens holds b'<a>': give" in run("python", "-c", call, cwd=tmp_path).stderr


def test_progress_bars_on_request(tmp_path, capsys):
    path = write(tmp_path, b"low lower lowest" * 9)
    train_bpe(path, 260, [])
    assert capsys.readouterr().err == ""
    train_bpe(path, 260, [], progress=True)
    assert "merge" in capsys.readouterr().err


# Libraries


def pretrained_hf(vocab, merges):
    tokenizers = pytest.importorskip("tokenizers")
    shown = bpe.gpt2_byte_to_unicode()
    text = {token: "".join(map(shown.get, token)) for token in vocab.values()}
    model = tokenizers.models.BPE({text[t]: i for i, t in vocab.items()}, [(text[a], text[b]) for a, b in merges])
    peer = tokenizers.Tokenizer(model)
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.add_special_tokens([END])
    return peer


def test_hugging_face_learns_the_same_merges(tmp_path, prose):
    tokenizers = pytest.importorskip("tokenizers")
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1_500, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    peer.train_from_iterator(prose.split(END), trainer)
    back = {character: b for b, character in bpe.gpt2_byte_to_unicode().items()}
    learned = [
        tuple(bytes(map(back.get, token)) for token in pair) for pair in json.loads(peer.to_str())["model"]["merges"]
    ]
    path = write(tmp_path, prose.encode())
    assert train_bpe(path, 1_500, [END], tie_break="huggingface")[1] == learned
    assert len(learned) > 700  # to the very end: no pair is left


def test_rustbpe_learns_the_same_merges(tmp_path, prose):
    rustbpe = pytest.importorskip("rustbpe", reason="rustbpe is an extra of the benchmarks")
    peer = rustbpe.Tokenizer()
    peer.train_from_iterator(iter(prose.split(END)), 1_500, pattern=PATTERN)
    learned = [bytes(token) for token, _ in sorted(peer.get_mergeable_ranks(), key=lambda item: item[1])][256:]
    merges = train_bpe(write(tmp_path, prose.encode()), 1_501, [END], tie_break="rustbpe")[1]
    assert [a + b for a, b in merges] == learned
    assert len(learned) > 700


@FAST
@given(text=RICH)
def test_ids_are_those_of_tiktoken_and_hugging_face(trained, text):
    tiktoken = pytest.importorskip("tiktoken")
    _, vocab, merges = trained
    ranks = {token: i for i, token in vocab.items() if i}
    peer = tiktoken.Encoding("ours", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={END: 0})
    ids = Tokenizer(vocab, merges, [END]).encode(text)
    assert ids == peer.encode(text, allowed_special="all")
    assert ids == pretrained_hf(vocab, merges).encode(text).ids


# The patterns of other models

OTHERS = ["gpt4", "qwen2", "llama3"]
MANY = st.lists(
    st.sampled_from([*PIECES, *CHARACTERS, "'LL", "\u2019s", "12345", ".\n\n", "\t", "(x", "DON'T", "'\u017f"])
)


def peer_of(pattern: str, texts: list[str]):
    """A tokenizer of Hugging Face that cuts text by one of our patterns, trained on these texts."""
    hf = pytest.importorskip("tokenizers")
    peer = hf.Tokenizer(hf.models.BPE())
    cut = hf.pre_tokenizers.Split(hf.Regex(bpe.PATTERNS[pattern].replace(r"\Z", r"\z")), "isolated")
    bytes_only = hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    peer.pre_tokenizer = hf.pre_tokenizers.Sequence([cut, bytes_only])
    alphabet = hf.pre_tokenizers.ByteLevel.alphabet()
    peer.train_from_iterator(
        texts, hf.trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    )
    return peer, cut


@pytest.fixture(scope="module", params=OTHERS)
def other(request, prose, tmp_path_factory):
    """(a pattern's name, Hugging Face's tokenizer, what cuts its text, ours from its files)"""
    peer, cut = peer_of(request.param, [*prose.split(END), "a.\n\n\tb 12345 (x) DON'T\n" * 99])
    vocab, merges = peer.model.save(str(tmp_path_factory.mktemp(request.param)))
    return request.param, peer, cut, Tokenizer.from_files(vocab, merges, [END], pattern=request.param)


@FAST
@given(text=MANY.map("".join))
def test_other_patterns_give_the_ids_of_hugging_face(other, text):
    name, peer, cut, ours = other
    pieces = [text[a:b] for _, (a, b) in cut.pre_tokenize_str(text)]
    assert bpe._find_pretokens(text, name) == pieces
    if END not in text:
        assert ours.encode(text) == peer.encode(text).ids
    assert ours.decode(ours.encode(text)) == text


@FEW
@given(parts=MANY)
def test_a_stream_under_another_pattern_equals_the_joined_text(other, parts):
    ours = other[3]
    ids = ours.encode("".join(parts))
    assert list(ours.encode_iterable(parts)) == ids
    assert list(ours.encode_iterable("".join(parts))) == ids


def test_a_long_text_under_another_pattern_is_cut_into_the_same_pieces(other):
    text = "one two.\n\n  three 1234\n\n" * 3_000
    assert other[3].encode(text) == other[1].encode(text).ids


@FAST
@given(text=MANY.map("".join))
def test_gpt4_is_cl100k_base(text):
    public = pytest.importorskip("tiktoken_ext.openai_public")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(public, "load_tiktoken_bpe", lambda *args, **kwargs: {})
        theirs = public.cl100k_base()["pat_str"].replace("$", r"\Z")
    assert bpe._find_pretokens(text, "gpt4") == regex.findall(theirs, text)


def test_files_of_another_pattern_are_never_read_as_gpt2s(other, tmp_path):
    name, peer, _, ours = other
    vocab, merges = peer.model.save(str(tmp_path))
    with pytest.raises(ValueError, match=r"merges\.txt, line \d+: GPT-2's pattern cuts .* into pieces"):
        Tokenizer.from_files(vocab, merges)
    peer.save(str(tmp_path / "tokenizer.json"))
    settings = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    if name == "gpt4":  # our regular expression and theirs are written in different dialects
        with pytest.raises(ValueError, match="cuts text as no pattern known here"):
            Tokenizer.from_files(vocab, merges)
        return
    settings["added_tokens"] = [{"id": 900, "content": "<|é|>"}, {"id": 901, "content": "<|end|>"}]
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings), "utf-8")
    told = Tokenizer.from_files(vocab, merges, ["<|end|>", "<|é|>"])
    assert told.pattern == name and told.encode("ab.\n\n<|end|>") == [*ours.encode("ab.\n\n"), 901]
    assert told.decode([900]) == "<|é|>"
    settings["normalizer"] = {"type": "NFC"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings), "utf-8")
    with pytest.warns(UserWarning, match="has normalizer, which is not followed"):
        Tokenizer.from_files(vocab, merges)
    settings["model"]["vocab"] = {"another": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(ValueError, match="GPT-2's pattern cuts"):  # the file is of another vocabulary
        Tokenizer.from_files(vocab, merges)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("added_tokens.json", {"<|é|>": 900, "  ": 901}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"900": {"content": "<|é|>"}, "901": {"content": "  "}}}),
    ],
)
def test_ids_that_the_files_of_hugging_face_add_are_kept(tmp_path, name, content):
    ours = Tokenizer(*train_bpe(write(tmp_path, b"a    b  c    d"), 258, []))
    ours.save(tmp_path / "vocab.json", tmp_path / "merges.txt")
    (tmp_path / name).write_text(json.dumps(content), "utf-8")
    plain, told = (
        Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt", s) for s in ([], ["<|é|>", "  "])
    )
    assert plain.encode("a   b") == ours.encode("a   b") and plain.decode([900]) == "<|é|>"
    assert told.encode("a  b<|é|>") == [97, 901, 98, 900]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"added_tokens_decoder": {"97": {"content": "<|end|>"}}}, r"id 97 is b'a', and in another file .*<\|end\|>"),
        ({"added_tokens_decoder": {"one": {"content": "<|end|>"}}}, "added tokens beside .* as Hugging Face writes"),
        ({"added_tokens_decoder": {"900": "<|end|>"}}, "added tokens beside .* as Hugging Face writes"),
    ],
)
def test_added_tokens_that_do_not_fit_are_told(tmp_path, content, told):
    Tokenizer(*train_bpe(write(tmp_path, b"aa"), 257, [])).save(tmp_path / "vocab.json", tmp_path / "merges.txt")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=told):
        Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")


@pytest.mark.parametrize(
    "cutting", [None, {"type": "Sequence", "pretokenizers": []}, {"type": "Split", "behavior": "Isolated"}]
)
def test_a_tokenizer_json_that_cuts_in_no_known_way_is_told(tmp_path, cutting):
    Tokenizer(*train_bpe(write(tmp_path, b"aa"), 257, [])).save(tmp_path / "vocab.json", tmp_path / "merges.txt")
    model = {"vocab": json.loads((tmp_path / "vocab.json").read_text("utf-8"))}
    settings = {"model": model, "pre_tokenizer": cutting, "added_tokens": None}
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(ValueError, match="cuts text as no pattern known here"):
        Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")


def test_a_file_that_cannot_be_written_leaves_the_other_as_it_was(tmp_path):
    vocab = tmp_path / "vocab.json"
    vocab.write_text("old")
    with pytest.raises(FileNotFoundError):
        Tokenizer(*train_bpe(write(tmp_path, b"aa"), 257, [])).save(vocab, tmp_path / "no folder" / "merges.txt")
    assert vocab.read_text() == "old"


def test_a_pointer_of_git_lfs_is_refused(tmp_path):
    path = write(tmp_path, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 548105171\n")
    with pytest.raises(ValueError, match=r"is a pointer of Git LFS .*git lfs pull"):
        train_bpe(path, 300, [])
    with pytest.raises(ValueError, match=r"is a pointer of Git LFS"):
        Tokenizer.from_files(path, path)


@FAST
@given(text=RICH)
def test_no_merge_of_our_own_is_taken_for_one_of_another_pattern(tmp_path_factory, text):
    merges = train_bpe(write(tmp_path_factory.getbasetemp(), text.encode()), 400, [])[1]
    assert bpe.find_pattern({}, "merges.txt", {pair: 1 for pair in merges}) == "gpt2"


def test_an_unknown_pattern_is_told():
    with pytest.raises(ValueError, match=r"pattern is 'gpt5': .*'gpt2', 'gpt4', 'qwen2', 'llama3'"):
        Tokenizer({}, [], pattern="gpt5")


# Encoding and decoding


@FAST
@given(text=RICH, specials=st.sampled_from(SPECIALS))
def test_encoding_equals_the_definition_and_round_trips(trained, text, specials):
    _, vocab, merges = trained
    tokenizer = Tokenizer(vocab, merges, specials)
    ids = tokenizer.encode(text)
    assert ids == bpe_oracle.encode(text, tokenizer.vocab, merges, specials)
    assert tokenizer.decode(ids) == text


@FAST
@given(st.text(max_size=200))
def test_any_text_round_trips(trained, text):
    tokenizer = Tokenizer(trained[1], trained[2], [END])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(iter(tokenizer.encode(text))) == text


def test_a_whole_text_equals_the_definition(trained, prose):
    _, vocab, merges = trained
    tokenizer = Tokenizer(vocab, merges, [END])
    pretokens = {q for part in bpe_oracle.cut_at_special(prose, [END])[::2] for q in regex.findall(PATTERN, part)}
    known = {q: bpe_oracle.encode(q, vocab, merges, []) for q in pretokens}
    parts = [regex.findall(PATTERN, part) for part in prose.split(END)]
    expected = [i for k, part in enumerate(parts) for i in ([0] if k else []) + [i for q in part for i in known[q]]]
    assert tokenizer.encode(prose) == expected
    forgetful = Tokenizer(vocab, merges, [END])
    forgetful.encoder._known.size = 3  # answers are forgotten all the time
    assert forgetful.encode(prose) == expected
    assert len(forgetful.encoder._known) <= 3


@pytest.mark.parametrize("run", ["a" * 99, "a" * 100, "a" * 5_001, "ab" * 400, "token" * 90, "字典" * 80, "aab" * 77])
def test_long_pretokens_are_merged_as_short_ones_are(trained, run):
    _, vocab, merges = trained
    becomes = Encoder(vocab, merges)._rules[0]
    assert bpe._merge_long(list(run.encode()), becomes) == bpe._merge_short(list(run.encode()), becomes)
    if len(run) < 500:
        assert Tokenizer(vocab, merges).encode(run) == bpe_oracle.encode(run, vocab, merges, [])


def test_merges_apply_in_their_order_not_from_the_left():
    tokens = [b"a", b"b", b"c", b"bc", b"ab", b"abc"]
    tokenizer = Tokenizer(dict(enumerate(tokens)), [(b"b", b"c"), (b"a", b"b")])
    assert tokenizer.encode("abcab") == [0, 3, 4]  # abc is in the vocabulary, and yet no merge makes it


def test_two_merges_may_make_the_same_bytes():
    tokens = [b"a", b"b", b"c", b"ab", b"bc", b"abc", b"abca"]
    merges = [(b"b", b"c"), (b"a", b"bc"), (b"a", b"b"), (b"ab", b"c"), (b"abc", b"a")]
    assert Tokenizer(dict(enumerate(tokens)), merges).encode("abcaab") == [6, 3]


class Counted(dict):
    """A table of merges that counts how often it is asked."""

    asked = 0

    def get(self, *arguments):
        self.asked += 1
        return super().get(*arguments)

    def __contains__(self, key):
        self.asked += 1
        return super().__contains__(key)


@pytest.mark.parametrize("unit", ["a", "token", "字", "abcdefghijklmnopqrstuvwxyz"])
def test_a_long_run_is_not_quadratic(trained, unit):
    def cost(letters: int) -> int:
        encoder = Encoder(trained[1], trained[2])
        becomes, ids = encoder._rules
        encoder.__dict__["_rules"] = counted, _ = Counted(becomes), ids
        encoder.encode((unit * letters)[:letters])
        return counted.asked

    assert 1_000 < cost(2_000) <= cost(4_000) < 2.3 * cost(2_000) + 100


def test_special_tokens(trained):
    _, vocab, merges = trained
    tokenizer = Tokenizer(vocab, merges, ["<a>", END, "<a><b>"])
    assert tokenizer.encode(END) == [0]
    assert tokenizer.encode("<a><a><b><b>")[:2] == [1_000, 1_001]  # the next free ids, in order; the longest match
    assert tokenizer.decode([1_001, 0, 1_000]) == f"<a><b>{END}<a>"
    assert len(Tokenizer(vocab, merges).encode(END)) > 1  # without the list it is ordinary text
    assert len(Tokenizer({5: b"x", 9: b"y"}, [], ["<a>"]).vocab) == 3
    assert Tokenizer({5: b"x", 9: b"y"}, [], ["<a>"]).encode("x<a>y") == [5, 10, 9]
    with pytest.raises(ValueError, match="empty string"):
        Tokenizer(vocab, merges, [""])


def test_errors_of_the_tokenizer_say_what_is_wrong(trained):
    tokenizer = Tokenizer(trained[1], trained[2])
    with pytest.raises(ValueError, match="no id 123456"):
        tokenizer.decode([5, 123456])
    with pytest.raises(ValueError, match="lacks a byte of 'xyz'"):
        Tokenizer({0: b"x", 1: b"y"}, []).encode("xyz")
    with pytest.raises(ValueError, match="merge 0 makes b'xy'"):
        Tokenizer({0: b"x", 1: b"y"}, [(b"x", b"y")])


def test_invalid_utf8_is_replaced_on_decoding():
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [])
    for data in [b"\xff", b"a\xe5\xad", b"\xf0\x9f\x99", b"\x80ok", "字".encode()]:
        assert tokenizer.decode(list(data)) == data.decode("utf-8", "replace")
    assert tokenizer.decode([]) == ""


BYTES = Tokenizer({i: bytes([i]) for i in range(256)}, [], ["👍", END])
SURROGATES = st.text(st.sampled_from("a 👍\ud83d\udc4d\udbc0\udce9é\n"), max_size=12)


@FAST
@given(text=SURROGATES, data=st.data())
def test_surrogates_give_the_ids_of_tiktoken(text, data):
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([i]): i for i in range(256)}
    peer = tiktoken.Encoding("bytes", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={"👍": 256, END: 257})
    ids = peer.encode(text, allowed_special="all")
    assert BYTES.encode(text) == ids
    assert Tokenizer(BYTES.vocab, []).encode(text) == peer.encode(text, disallowed_special=())
    cut = data.draw(st.integers(0, len(text)))
    assert list(BYTES.encode_iterable([text[:cut], "", text[cut:]])) == ids
    assert list(BYTES.encode_iterable(text)) == ids


def test_a_special_token_that_no_text_can_hold_is_refused(tmp_path):
    for call in (Tokenizer, lambda *rest: train_bpe(write(tmp_path, b"abc"), 300, rest[2])):
        with pytest.raises(ValueError, match="a surrogate is no character"):
            call({}, [], ["<\ud83d>"])


def test_ids_may_be_tensors_and_arrays(trained):
    numpy, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    tokenizer = Tokenizer(trained[1], trained[2])
    ids = tokenizer.encode("the learner")
    for given_ids in (torch.tensor(ids), list(torch.tensor(ids)), numpy.array(ids, dtype="uint16"), tuple(ids)):
        assert tokenizer.decode(given_ids) == "the learner"


def test_what_is_no_text_and_no_ids_is_told(tmp_path):
    told = {
        "decode([[1, 2]])": "ids are whole numbers in one flat sequence, such as [5, 0], not [[1, 2]]",
        "decode(5)": "ids are whole numbers in one flat sequence, such as [5, 0], not 5",
        "decode([5.0])": "ids are whole numbers in one flat sequence, such as [5, 0], not [5.0]",
        "decode('ab')": "ids are whole numbers in one flat sequence, such as [5, 0], not 'ab'",
        "encode(b'ab')": "only a string can be encoded, and this is bytes: b'ab'",
        "encode(['ab'])": "only a string can be encoded, and this is list: ['ab']",
        "encode(None)": "only a string can be encoded, and this is NoneType: None",
        "encode_iterable([b'ab']).__next__()": "a stream of strings is needed, and this is bytes: open files as text",
    }
    call = """
import sys
from cs336lite.bpe import Tokenizer
for special_tokens in ([], ["<a>"]):
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], special_tokens)
    for call in sys.argv[1:]:
        try:
            print(eval("tokenizer." + call))
        except TypeError as error:
            print(error)
"""
    done = run("python", "-c", call, *told, cwd=tmp_path)
    assert done.stdout.splitlines() == [*told.values()] * 2, done.stderr


# Streams


@FAST
@given(text=RICH, specials=st.sampled_from(SPECIALS), data=st.data())
def test_a_stream_equals_the_joined_text_wherever_it_is_cut(trained, text, specials, data):
    tokenizer = Tokenizer(trained[1], trained[2], specials)
    ids = tokenizer.encode(text)
    for cut in range(len(text) + 1):
        assert list(tokenizer.encode_iterable([text[:cut], text[cut:]])) == ids
    assert list(tokenizer.encode_iterable(text)) == ids  # one character at a time
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
    assert list(tokenizer.encode_iterable(parts)) == ids
    assert "".join(safe_segments(parts, specials)) == text


@pytest.mark.parametrize("specials", SPECIALS[1:])
@FAST
@given(data=st.data())
def test_a_stream_with_many_and_half_special_tokens(trained, specials, data):
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], specials)
    halves = [half for token in specials for half in (token[: len(token) // 2], token[len(token) // 2 :])]
    parts = data.draw(st.lists(st.sampled_from([*specials, *specials, *halves, " ", "\n", "x"]), max_size=12))
    ids = tokenizer.encode("".join(parts))
    assert ids == bpe_oracle.encode("".join(parts), tokenizer.vocab, [], specials)
    assert list(tokenizer.encode_iterable(parts)) == ids
    assert list(tokenizer.encode_iterable("".join(parts))) == ids


def test_a_stream_is_lazy(trained):
    tokenizer = Tokenizer(trained[1], trained[2], [END])
    taken = []

    def source():
        for number in range(1_000):
            taken.append(number)
            yield f" token{number} learns"

    ids = tokenizer.encode_iterable(source())
    assert taken == []  # nothing happens before the first id is asked for
    next(ids)
    assert len(taken) <= 2
    for _ in range(100):
        next(ids)
    assert len(taken) < 60
    assert iter(ids) is ids


def test_a_segment_is_given_out_as_soon_as_it_is_certain():
    def told(text: str, specials: list[str]) -> list[tuple[int, str]]:
        taken = []
        segments = safe_segments((taken.append(character) or character for character in text), specials)
        return [(len(taken), segment) for segment in segments]  # after how many characters each segment came

    assert told("the cat  sat", []) == [(4, "the"), (8, " cat"), (12, "  sat")]
    assert told("one<a>two", ["<a>"])[0] == (6, "one<a>")
    assert told("x<a><b>y", ["<a>", "<a><b>"])[0] == (7, "x<a><b>")  # <a> alone is not certain before <b> is seen


def test_a_stream_takes_little_memory(trained):
    tokenizer = Tokenizer(trained[1], trained[2], [END])
    tokenizer.encode("the tables are ready")
    line = "the token learner reads a pair of bytes\n"

    def peak(lines: int) -> int:
        tracemalloc.start()
        for _ in tokenizer.encode_iterable(line for _ in range(lines)):
            pass
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return memory

    peak(10)
    assert peak(4_000) < peak(400) + 20_000


@pytest.mark.parametrize("unit", ["a", " ", "字", "<", END[:-1]])
def test_a_stream_without_a_place_to_cut_is_not_looked_at_again_and_again(monkeypatch, unit):
    lengths = []

    class Noting:
        def __init__(self, pattern: str) -> None:
            self.pattern = compile_pattern(pattern)

        def __getattr__(self, name: str):
            def call(text, *rest):
                lengths.append(len(text))
                return getattr(self.pattern, name)(text, *rest)

            return call

    compile_pattern = regex.compile
    monkeypatch.setattr(bpe.regex, "compile", Noting)
    assert "".join(safe_segments(unit * 2_000, [END])) == unit * 2_000
    assert len(unit) * 2_000 <= sum(lengths) < 40 * len(unit) * 2_000


# Files


def test_save_and_from_files_round_trip(trained, tmp_path, prose):
    _, vocab, merges = trained
    tokenizer = Tokenizer(vocab, merges, [END, "<é 字>"])
    tokenizer.save(tmp_path / "vocab.json", tmp_path / "merges.txt")
    again = Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt", [END, "<é 字>"])
    assert (again.vocab, again.merges) == (tokenizer.vocab, tokenizer.merges)
    assert again.encode(prose[:5_000] + "<é 字>") == tokenizer.encode(prose[:5_000] + "<é 字>")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["merges.txt", "vocab.json"]  # nothing is left beside


def test_files_are_those_of_gpt2(trained, tmp_path, prose):
    tokenizers = pytest.importorskip("tokenizers")
    _, vocab, merges = trained
    ours = Tokenizer(vocab, merges, [END])
    ours.save(tmp_path / "vocab.json", tmp_path / "merges.txt")
    model = tokenizers.models.BPE.from_file(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    peer = tokenizers.Tokenizer(model)
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.add_special_tokens([END])
    assert peer.encode(prose[:20_000]).ids == ours.encode(prose[:20_000])


def test_files_written_by_hand(tmp_path):
    vocab = {"Ġ": 0, "#": 1, "##": 2, "Ġ##": 3, "<end of text>": 4}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab), "utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\r\n# #\r\nĠ ##\r\n\r\n", "utf-8", newline="")
    tokenizer = Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt", ["<end of text>"])
    assert tokenizer.merges == [(b"#", b"#"), (b" ", b"##")]
    assert tokenizer.encode(" ####<end of text>") == [3, 2, 4]


@pytest.mark.parametrize("name", ["<|français|>", "ilÖveyou", "<|č|>", "<|a b|>", "<|字|>", "Ġthe|", "é", "<|end|>"])
@pytest.mark.parametrize("form", ["as it is", "in GPT-2's characters"])
def test_a_special_token_is_found_in_either_form(tmp_path, name, form):
    shown = bpe.gpt2_byte_to_unicode()
    ids = {character: byte for byte, character in shown.items()}
    text = name if form == "as it is" else "".join(map(shown.get, name.encode()))
    ids[text] = ids.get(text, 256)
    (tmp_path / "vocab.json").write_text(json.dumps(ids), "utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    tokenizer = Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt", [name])
    assert tokenizer.encode(f"x{name}y") == [ord("x"), 256, ord("y")]
    assert tokenizer.decode([256]) == name
    assert tokenizer.decode(tokenizer.encode("é the")) == "é the"


def test_a_special_token_in_both_forms_is_the_one_as_it_is(tmp_path):
    ids = {"<|Ã©|>": 0, "<|é|>": 1}
    (tmp_path / "vocab.json").write_text(json.dumps(ids), "utf-8")
    (tmp_path / "merges.txt").write_text("", "utf-8")
    tokenizer = Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt", ["<|é|>"])
    assert tokenizer.encode("<|é|>") == [1]


VOCAB, MERGES = '{"a": 0, "b": 1, "ab": 2}', "#version: 0.2\na b\n"


@pytest.mark.parametrize(
    ("vocab", "merges", "words"),
    [
        (VOCAB, MERGES + "lonely\n", "merges.txt, line 3: a merge is two tokens, and here are 1: 'lonely'"),
        (VOCAB, MERGES + "\r\na b c\r\n", "merges.txt, line 4: a merge is two tokens, and here are 3"),
        (VOCAB, "# trained by me\n" + MERGES, "merges.txt, line 1: a merge is two tokens, and here are 4"),
        (VOCAB, MERGES + "b a\n", "merges.txt, line 3: the merge makes b'ba', which the vocabulary lacks"),
        (VOCAB, MERGES + "a b\n", "merges.txt, line 3: 'a b' stands in line 2 already"),
        (VOCAB, MERGES.encode() + b"\xff a", "merges.txt, line 3: byte 0xff is not UTF-8 text"),
        (VOCAB, MERGES.encode("utf-16"), "merges.txt is text in UTF-16"),
        (VOCAB, gzip.compress(MERGES.encode(), mtime=0), "merges.txt is compressed: decompress it first"),
        (MERGES, MERGES, "vocab.json, line 1: not JSON"),
        (VOCAB[:-1] + "\n", MERGES, "vocab.json, line 2: not JSON"),
        ('["a", "b", "ab"]', MERGES, "vocab.json holds a JSON list: it must map tokens to ids"),
        ('{"a": 0, "b": "1"}', MERGES, "vocab.json: the id of 'b' is '1', and must be a whole number"),
        ('{"a": 0, "b": 1, "ab": 1}', MERGES, "vocab.json: 'b' and 'ab' have the same id, 1"),
        ('{"model": {"vocab": {}}}', MERGES, "vocab.json is a tokenizer.json: write its model.vocab"),
    ],
)
def test_broken_files_are_told_with_file_and_line(tmp_path, vocab, merges, words):
    for name, data in (("vocab.json", vocab), ("merges.txt", merges)):
        (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / words))}"):
        Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")


@pytest.mark.parametrize("encode", [str.encode, lambda text: text.encode("utf-8-sig")])
def test_line_ends_and_byte_order_marks_do_not_matter(tmp_path, encode):
    (tmp_path / "vocab.json").write_bytes(encode(VOCAB))
    (tmp_path / "merges.txt").write_bytes(encode(MERGES.replace("\n", " \r\n\r\n")))
    assert Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt").encode("abba") == [2, 1, 0]


def test_two_ids_of_the_same_bytes_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="two ids have the same bytes"):
        Tokenizer({0: b"a", 1: b"a"}, []).save(tmp_path / "vocab.json", tmp_path / "merges.txt")
    assert not list(tmp_path.iterdir())


def test_the_byte_table_of_gpt2():
    table = bpe.gpt2_byte_to_unicode()
    assert len(set(table.values())) == 256 and all(len(c) == 1 and not c.isspace() for c in table.values())
    assert [table[b] for b in b"a~ \n\x00"] == ["a", "~", "Ġ", "Ċ", "Ā"]
    assert (table[0x7F], table[0xAD], table[0xA0], table[0xFF]) == ("ġ", "Ń", "ł", "ÿ")
