"""The last page: a model of the reader's parts or of stand-ins, its loss in bits per byte, and the leaderboard."""

from __future__ import annotations

import json
import math

import pytest
import torch
from helpers import ROOT
from torch import nn

from cs336lite import attention, bpe, lion, rope, router
from cs336lite.course import payoff
from cs336lite.course.leaderboard import Entry, enter
from cs336lite.course.parts import IN_PLACE, Bytes, Parts
from cs336lite.course.paths import GRADED_MODULES, CourseError
from cs336lite.course.text import read_text

MODULES = {"attention": attention, "bpe": bpe, "lion": lion, "rope": rope, "router": router}
TEXTS = payoff.Texts("small", ["ab ab ab cd. " * 20] * 8, ["ab ab cd. 中文 " * 10] * 2)


def parts_of(*names: str) -> Parts:
    """These modules of the course, and stand-ins for the others."""
    return Parts({n: MODULES[n] for n in names}, {n: "yours" if n in names else "stand-in" for n in IN_PLACE})


def classes(parts: Parts) -> dict:
    """What the page's own cells define, around these parts."""
    cells = [c.source for c in read_text(ROOT / "notebooks/text/99_your_model.py").notebook.cells]
    names: dict = {"PARTS": parts}
    exec("import torch\nfrom torch import Tensor, nn\nfrom cs336lite.layers import RMSNorm", names)
    for source in cells:
        if source.startswith("class "):
            exec(source.partition("\n\n\ntorch.manual_seed")[0], names)
    return names


def test_there_is_a_stand_in_for_every_part():
    assert set(IN_PLACE) == set(MODULES) <= set(GRADED_MODULES.values())  # later assignments build no part


@pytest.mark.parametrize(
    "names", [(), tuple(MODULES), *((name,) for name in MODULES)], ids=lambda n: "+".join(n) or "none"
)
def test_any_parts_make_a_model_that_learns_and_sees_no_future(names, one_thread):
    parts = parts_of(*names)
    tokenizer = parts.tokenizer(TEXTS.train, 270)
    data = payoff.tokenized(TEXTS, tokenizer)
    torch.manual_seed(0)
    model = classes(parts)["YourModel"](data.vocab_size, 16, 2, 2, 16)
    tokens = data.heldout[:12][None]
    changed = tokens.clone()
    changed[0, -1] = (changed[0, -1] + 1) % data.vocab_size
    assert torch.equal(model(tokens)[0, :-1].argmax(-1), model(changed)[0, :-1].argmax(-1))
    assert torch.allclose(model(tokens)[0, :-1], model(changed)[0, :-1], atol=1e-5)
    optimizer = parts.optimizer(model.parameters(), lr=3e-3)
    before = payoff.evaluate(model, data, 16)
    curve = payoff.train(model, optimizer, data, steps=30, batch_size=4, length=16, points=2)
    assert [step for step, _ in curve] == [15, 30] and curve[-1][1] < before - 0.05
    assert curve[-1][1] == pytest.approx(payoff.evaluate(model, data, 16), rel=1e-6)
    assert (float(payoff.balance(model)) > 0) is ("router" in names)
    said = payoff.write(model, tokenizer, "ab", 5, length=16)
    assert said.startswith("ab")


SMALLER = {  # what a run of seconds changes of the page
    "PARTS = parts()": "",
    "(96, 3, 300)": "(16, 1, 4)",
    "= 4, 64, 32, 1024": "= 2, 32, 4, 300",
    "train_bytes=3_000_000": "train_bytes=100_000",
    'finished("99_your_model")': "",
}


@pytest.mark.parametrize("names", [(), tuple(MODULES)], ids=["none", "all"])
def test_the_page_runs_to_its_end(names, monkeypatch, capsys, one_thread):
    monkeypatch.setenv("CS336LITE_BUILD", "1")  # no run is remembered
    cells = read_text(ROOT / "notebooks/text/99_your_model.py").notebook.cells
    source = "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for large, small in SMALLER.items():
        assert source.count(large) == 1, large
        source = source.replace(large, small)
    page = {"PARTS": parts_of(*names)}
    exec(source, page)
    printed = capsys.readouterr().out
    assert "bits per byte before" in printed and "Once upon a time" in printed
    assert page["curve"][0][0] == 0 and page["curve"][-1][0] == 4
    assert page["mine"].parts == str(parts_of(*names))


def test_bits_per_byte_do_not_depend_on_how_the_text_is_cut():
    """A model that knows nothing needs log2(vocabulary) bits a token, whatever the windows."""
    data = payoff.tokenized(TEXTS, Bytes())
    assert data.heldout_bytes == TEXTS.heldout_bytes == len(data.heldout) - 2  # two separators
    size = len(data.heldout) - 1

    class Nothing(nn.Module):
        def forward(self, tokens):
            return torch.zeros(*tokens.shape, 257)

    for length in (7, 64, size, size + 5):
        assert payoff.evaluate(Nothing(), data, length) == pytest.approx(size * math.log2(257) / data.heldout_bytes)
    assert data.tables["bigram"] < data.tables["unigram"] < math.log2(257)


def test_a_tokenizer_that_loses_text_is_named():
    class Lossy(Bytes):
        def decode(self, ids):
            return super().decode(ids).strip()

    with pytest.raises(CourseError, match="does not decode what it has encoded"):
        payoff.tokenized(TEXTS, Lossy())


def test_the_board_keeps_the_best_run_of_each_name_and_shows_friends(tmp_path):
    own = tmp_path / ".cs336lite" / "leaderboard.json"
    enter(Entry("Ada", 2.5, "text", 100, 50, "yours: bpe"), root=tmp_path)
    worse = enter(Entry("Ada", 2.7, "text"), root=tmp_path)
    assert [e.bits_per_byte for e in worse.entries] == [2.5, 2.7] and len(json.loads(own.read_text())) == 1
    better = enter(Entry("Ada", 2.2, "text"), root=tmp_path)
    assert [e.bits_per_byte for e in better.entries] == [2.2]
    enter(Entry("Ada", 1.0, "another text"), root=tmp_path)
    friends = [
        {"name": "<b>Bob</b>\x1b[2J", "bits_per_byte": 2.0, "text": "text"},
        {"name": 3},
        "x",
        {"bits_per_byte": 1},
    ]
    friends += [
        {"name": "Eve", "bits_per_byte": True, "text": "text"},
        {"name": "Eve", "bits_per_byte": -1, "text": "text"},
    ]
    (tmp_path / "leaderboard-bob.json").write_text(json.dumps(friends))
    (tmp_path / "leaderboard-broken.json").write_text("{")
    board = enter(Entry("Cleo", 2.4, "text"), [Entry("bigram table", 3.0, "text")], root=tmp_path)
    assert [e.bits_per_byte for e in board.entries] == [2.0, 2.2, 2.4, 3.0]
    assert "<b>Bob" not in board._repr_html_() and "\x1b" not in repr(board) + board._repr_html_()
    assert {e["name"] for e in json.loads(own.read_text())} == {"Ada", "Cleo"}
    with pytest.raises(CourseError, match="needs a name"):
        enter(Entry(" ", 2.0, "text"), root=tmp_path)


def test_a_build_leaves_no_run_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("CS336LITE_BUILD", "1")
    (tmp_path / "leaderboard-bob.json").write_text(json.dumps([{"name": "Bob", "bits_per_byte": 2.0, "text": "text"}]))
    assert [e.name for e in enter(Entry("me", 2.4, "text"), root=tmp_path).entries] == ["me"]
    assert not (tmp_path / ".cs336lite").exists()


def test_tinystories_are_taken_where_they_are_and_held_out_text_is_not_trained_on(tmp_path, monkeypatch):
    monkeypatch.setenv("CS336LITE_DATA", str(tmp_path))
    name = payoff.SOURCES["tinystories-valid"].name
    (tmp_path / name).write_text("<|endoftext|>".join(f"Story {i} is told." for i in range(200)))
    texts = payoff.read_texts(1_000, 500)
    assert texts.name == "tinystories-valid" and not set(texts.train) & set(texts.heldout)
    assert 500 <= texts.heldout_bytes < 550 and 1_000 <= sum(map(len, texts.train)) < 1_050
    with pytest.raises(CourseError, match="has no 1,000,000 bytes to train on"):
        payoff.read_texts(1_000_000, 500)
