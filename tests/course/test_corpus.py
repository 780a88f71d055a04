"""The corpus that needs no network: the same bytes everywhere, and found out when they are not."""

import hashlib
import os
import re
import subprocess
import sys
import types
from collections import Counter

import nbclient
import nbformat
import pytest

from cs336lite.course import corpus, data
from cs336lite.course.corpus import SEPARATOR, chinese_passage, default_corpus, technical_text
from cs336lite.course.data import documents
from cs336lite.course.paths import CourseError


def test_technical_text_is_the_same_bytes_everywhere(monkeypatch, tmp_path):
    monkeypatch.setenv("CS336LITE_DATA", str(tmp_path))
    text = technical_text()
    assert hashlib.sha256(text.encode()).hexdigest() == corpus.TECHNICAL_SHA256
    (kept,) = tmp_path.iterdir()
    assert technical_text() == text == kept.read_text("utf-8")
    pieces = text.split(f"\n{SEPARATOR}\n")
    assert len(pieces) == len(set(pieces)) > 700
    assert 1_000_000 < len(text) < 1_100_000
    kept.write_text("a cached copy that something has damaged")
    assert technical_text() == text == kept.read_text("utf-8")


def test_technical_text_of_another_torch_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("CS336LITE_DATA", str(tmp_path))
    (tmp_path / "torch" / "nn").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "nn" / "layer.py").write_text(f'"""{"Another text. " * 20}"""\n')
    monkeypatch.setattr(corpus, "PARTS", "nn")
    monkeypatch.setattr(
        corpus, "find_spec", lambda name: types.SimpleNamespace(origin=str(tmp_path / "torch/__init__.py"))
    )
    with pytest.warns(UserWarning, match=r"documentation of PyTorch 2\.13\.0.*pip install torch==2\.13\.0"):
        assert technical_text() == ("Another text. " * 20).strip()
    with pytest.warns(UserWarning, match="recorded"):
        made = default_corpus(tmp_path / "corpora", size=20_000)
    assert "Another text" in made.read_text("utf-8")
    assert not list(tmp_path.glob("technical*"))  # it is not kept under the name of the frozen one


def test_technical_text_needs_no_folder_to_keep_it_in(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CS336LITE_DATA", str(tmp_path / "file" / "below"))
    assert technical_text().count(SEPARATOR) > 700


def test_technical_text_asks_nothing_of_the_running_interpreter(monkeypatch, tmp_path):
    """Docstrings of imported modules can be replaced (a Jupyter kernel does) or dropped (python -OO)."""
    code = (
        "import getpass, inspect, hashlib, sys\n"
        "getpass.getpass = print; inspect.getdoc = None\n"
        "from cs336lite.course.corpus import technical_text\n"
        "print(hashlib.sha256(technical_text().encode()).hexdigest(), 'torch' in sys.modules)"
    )
    environment = os.environ | {"CS336LITE_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-OO", "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == [corpus.TECHNICAL_SHA256, "False"]


def test_a_kernel_sees_the_corpus_of_a_script(monkeypatch, tmp_path):
    monkeypatch.setenv("CS336LITE_DATA", str(tmp_path))
    code = (
        "import hashlib\nfrom cs336lite.course.data import default_corpus, technical_text\n"
        "print(hashlib.sha256(technical_text().encode()).hexdigest())\n"
        "print(hashlib.sha256(default_corpus().read_bytes()).hexdigest())"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert "".join(output.text for output in notebook.cells[0].outputs).split() == [
        corpus.TECHNICAL_SHA256,
        corpus.DEFAULT_SHA256,
    ]


def test_default_corpus_is_written_once_and_has_its_size(tmp_path):
    path = default_corpus(tmp_path, size=300_000)
    content = path.read_bytes()
    assert 290_000 <= len(content) <= 300_000
    stamp = path.stat().st_mtime_ns
    assert default_corpus(tmp_path, size=300_000) == path
    assert path.stat().st_mtime_ns == stamp
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    path.unlink()
    assert default_corpus(tmp_path, size=300_000).read_bytes() == content
    assert default_corpus(tmp_path, size=200_000) != path


@pytest.mark.parametrize("damage", [lambda kept: kept[:-1000], lambda kept: b"", lambda kept: b"X" + kept[1:]])
def test_a_damaged_default_corpus_is_made_again(tmp_path, damage):
    path = default_corpus(tmp_path, size=50_000)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert default_corpus(tmp_path, size=50_000).read_bytes() == content


def test_a_default_corpus_that_cannot_be_read_is_made_again(tmp_path):
    path = default_corpus(tmp_path, size=20_000)
    content = path.read_bytes()
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    assert default_corpus(tmp_path, size=20_000).read_bytes() == content
    path.unlink()
    path.mkdir()
    with pytest.raises(CourseError, match=r"cannot write default-20000-.*CS336LITE_DATA"):
        default_corpus(tmp_path, size=20_000)


def test_a_folder_may_begin_with_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert default_corpus("~/corpora", size=20_000).parent == tmp_path / "corpora"


@pytest.mark.parametrize("origin", [None, "torch.zip/torch/__init__.py", "torch/__init__.pyc"])
def test_pytorch_without_its_sources_is_told(monkeypatch, tmp_path, origin):
    monkeypatch.setenv("CS336LITE_DATA", str(tmp_path))
    found = types.SimpleNamespace(origin=origin and str(tmp_path / origin))
    monkeypatch.setattr(corpus, "find_spec", lambda name: found)
    with pytest.raises(CourseError, match=r"PyTorch's sources, .*pip install torch==2\.13\.0"):
        technical_text()


def test_the_default_corpus_is_the_same_bytes_everywhere(tmp_path):
    content = default_corpus(tmp_path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == corpus.DEFAULT_SHA256
    assert 3_900_000 <= len(content) <= corpus.DEFAULT_SIZE


def test_default_corpus_mixes_its_parts(tmp_path):
    texts = list(documents(default_corpus(tmp_path, size=400_000)))
    assert chinese_passage() in texts
    size = Counter()
    chinese = re.compile("[\u4e00-\u9fff]")
    told = {story for seed in range(4) for story in data.stories(200, seed)}
    for text in texts:
        size["zh" if chinese.match(text) else "story" if text in told else "technical"] += len(text.encode())
    total = sum(size.values())
    assert 0.05 < size["zh"] / total < 0.15
    assert 0.6 < size["story"] / total < 0.8
    assert 0.1 < size["technical"] / total < 0.25
    half = len(texts) // 2  # the order is random: both halves hold stories and technical text
    assert all(any(text in told for text in part) for part in (texts[:half], texts[half:]))


def test_default_corpus_needs_no_network(tmp_path):
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise OSError('no network here')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "from cs336lite.course.data import load\n"
        "print(load('default', max_bytes=50_000))\n"
    )
    environment = os.environ | {"CS336LITE_DATA": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.startswith(str(tmp_path / "cache"))
