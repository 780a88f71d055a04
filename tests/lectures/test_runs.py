"""What a training run needs of the machine: files that are whole, numbers and ids that make sense, devices."""

import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cs336lite import runs
from cs336lite.model import Transformer
from cs336lite.runs import CheckpointError, load_whole, open_ids, written

KILLED = """
import os, sys
from cs336lite.runs import written
with written(sys.argv[1]) as part:
    part.write_text("half of it")
    print(part, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is writing to ``run.pt``, and the part that it has written."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run.pt")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()


def test_what_a_killed_writer_leaves_is_removed_by_the_next_and_a_living_one_is_left_alone(writer, tmp_path):
    process, part = writer
    runs.check_writable(tmp_path / "run.pt")
    with written(tmp_path / "run.pt") as own:
        own.write_text("mine")
    assert part.read_text() == "half of it" and sorted(os.listdir(tmp_path)) == ["run.pt", part.name]
    process.send_signal(signal.SIGKILL)
    process.wait()
    for name in ("run.pt.mine.part", "other.pt.abcdefgh.part", ".run.pt.abcdefgh"):
        (tmp_path / name).write_text("not ours")
    assert part.exists() and not part.name.startswith(".")
    runs.check_writable(tmp_path / "run.pt")
    assert not part.exists() and len(os.listdir(tmp_path)) == 4 and (tmp_path / "run.pt").read_text() == "mine"


def test_a_living_writer_finishes_whatever_others_do(writer, tmp_path):
    process, _ = writer
    runs.sweep_parts(tmp_path, "*")
    process.communicate("")
    assert process.returncode == 0 and os.listdir(tmp_path) == ["run.pt"]


def test_an_error_leaves_the_old_file_and_no_part(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), written(tmp_path / "a") as part:
        part.write_text("new")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("folder", "folder is no file, but a folder or a device"),
        ("file/a", "a cannot be written: .*file is no folder"),
        ("file/a/b", "b cannot be written: Not a directory"),
        ("new/", "new/ is the name of a folder: give the path of a file"),
        (os.devnull, "null is no file, but a folder or a device"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_and_left_alone(place, message, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    for attempt in (runs.check_writable, lambda path: written(path).__enter__()):
        with pytest.raises(OSError, match=message):
            attempt(f"{tmp_path}/{place}" if place != os.devnull else place)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"] and not Path(os.devnull).is_file()


def test_a_home_that_only_a_shell_knows_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=r"~/a begins with ~.*give Path\.home"):
        runs.check_writable("~/a")
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(there, tmp_path):
    (tmp_path / "scratch").mkdir()
    if there:
        (tmp_path / "scratch/a").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "scratch/a")
    with written(tmp_path / "link") as part:
        part.write_text("new")
    assert (tmp_path / "link").is_symlink() and os.listdir(tmp_path / "scratch") == ["a"]
    assert (tmp_path / "scratch/a").read_text() == "new"


def failing(number: int):
    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ESTALE])
def test_what_the_disk_says_is_said(number, tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt")
    monkeypatch.setattr("tempfile.mkstemp", failing(number))
    with pytest.raises(OSError, match=rf"a\.pt cannot be written: {os.strerror(number)}$"):
        runs.check_writable(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=rf"a\.pt cannot be written: {os.strerror(number)}$"):
        runs.check_places(tmp_path / "a.pt", 0, None)
    monkeypatch.setattr("builtins.open", failing(number))
    with pytest.raises(CheckpointError, match=rf"a\.pt cannot be read now: {os.strerror(number)}$"):
        load_whole(tmp_path / "a.pt")


def test_a_full_disk_is_told_by_name_though_pytorch_hides_it(tmp_path, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file, self.left = file, 5_000

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data)

        def flush(self):
            self.file.flush()

    save = torch.save
    monkeypatch.setattr(torch, "save", lambda content, file: save(content, Full(file)))
    with pytest.raises(CheckpointError, match=r"a\.pt could not be saved, and is as it was: No space left on device"):
        runs.save_whole(tmp_path / "a.pt", {"a": torch.zeros(10_000)})
    assert not os.listdir(tmp_path)


def test_each_damage_is_told_and_nothing_else_is_called_damage(tmp_path):
    path, content = tmp_path / "a.pt", {"a": torch.arange(300), "b": [1.5, None, "x"]}
    runs.save_whole(path, content)
    whole, start = path.read_bytes(), path.read_bytes().find(torch.arange(300).numpy().tobytes())
    assert torch.equal(load_whole(path)["a"], content["a"])
    damaged = [whole[: len(whole) * n // 7] for n in range(7)]
    damaged += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(start, start + 2_400, 600)]
    np.savez(tmp_path / "b.npz", a=np.arange(3))
    foreign = [b"hello", (tmp_path / "b.npz").read_bytes()]
    for contents, message in ((damaged, "is cut short or damaged"), (foreign, "holds something else")):
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(CheckpointError, match=rf"a\.pt {message}"):
                load_whole(path)
    with pytest.raises(FileNotFoundError):
        load_whole(tmp_path / "none")
    with pytest.raises(CheckpointError, match="cannot be read now: Is a directory"):
        load_whole(tmp_path)


def test_a_file_that_does_not_fit_into_memory_is_not_called_damaged(tmp_path, monkeypatch):
    def load(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
                           "you tried to allocate 400000000000 bytes. Error code 12 (Cannot allocate memory)")  # fmt: skip

    torch.save({}, tmp_path / "a.pt")
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(CheckpointError, match="does not fit into the memory"):
        load_whole(tmp_path / "a.pt")


def write_npy(path: Path, array: np.ndarray, cut: int = 0) -> None:
    np.save(path, array, allow_pickle=True)
    path.write_bytes(path.read_bytes()[: -cut or None])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: np.arange(9, dtype=np.uint16).tofile(p), r"is no \.npy file; .* Tokens\(path, dtype=np\.uint16\)"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_bytes(b"\x93NUM"), r"is no \.npy file"),
        (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00\x99"), "has a damaged header"),
        (lambda p: write_npy(p, np.arange(9), cut=8), "is cut short: it has 192 bytes of 200"),
        (lambda p: write_npy(p, np.arange(9), cut=150), "has a damaged header"),
        (lambda p: write_npy(p, np.array([[1], [2]], dtype=object)), "holds Python objects"),
        (lambda p: write_npy(p, np.zeros((2, 3), int)), r"one row of integers, not int64 of shape \(2, 3\)"),
        (lambda p: write_npy(p, np.zeros(3)), "one row of integers, not float64"),
        (lambda p: torch.save(torch.arange(3), p), "is an archive"),
    ],
)
def test_a_file_that_holds_no_ids_is_told_by_its_name(write, message, tmp_path):
    write(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=message) as told:
        open_ids(tmp_path / "a.npy")
    assert "pickle" not in str(told.value) and "unsafe" not in str(told.value)


def test_ids_without_a_header_need_the_dtype_that_they_have(tmp_path):
    path = tmp_path / "a.bin"
    np.arange(300, dtype=">u2").tofile(path)
    assert open_ids(path, ">u2").tolist() == list(range(300))
    for wrong, message in (("f2", "not float16"), ("V7", "600 bytes, which are no ids of 7 bytes")):
        with pytest.raises(ValueError, match=message):
            open_ids(path, wrong)
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(ValueError, match="leave dtype out"):
        open_ids(tmp_path / "a.npy", np.uint16)
    with pytest.raises(ValueError, match="no file"):
        open_ids([1.5], np.uint16)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.uint64])
def test_the_first_id_outside_the_vocabulary_is_told(dtype, monkeypatch):
    monkeypatch.setattr(runs, "BLOCK", 4)
    ids = np.array([1, 2, 3, 4, 5, 6, 7, 60, 61], dtype=dtype)
    runs.check_ids(ids, 8, 62)
    with pytest.raises(ValueError, match="id 60 at position 7, and the vocabulary is 0 to 9"):
        runs.check_ids(ids, 8, 10)
    with pytest.raises(ValueError, match="a window takes 10 tokens, and there are 9"):
        runs.check_ids(ids, 9, 100)


@pytest.mark.parametrize("bad", [[1.5], [3, 4.25], [math.nan], ["3"], [[1], [2]], np.array([0.5]), [True]])
def test_what_is_no_whole_number_is_told(bad):
    with pytest.raises(ValueError, match="from position 0 on"):
        list(runs.whole_blocks(bad))


@pytest.mark.parametrize("ids", [range(9), np.arange(9), torch.arange(9), [float(i) for i in range(9)], iter(range(9))])
def test_whole_numbers_come_in_blocks_whatever_holds_them(ids, monkeypatch):
    monkeypatch.setattr(runs, "BLOCK", 4)
    assert [block.tolist() for block in runs.whole_blocks(ids)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


@pytest.mark.parametrize("value", [2.5, 3.0, True, "3", None, math.nan, 1, -1, np.float32(3)])
def test_a_number_that_is_not_whole_or_too_small_is_refused(value):
    with pytest.raises(ValueError, match="steps is"):
        runs.whole("steps", value, 2)


@pytest.mark.parametrize("value", [-0.1, 1.1, True, "0.5", None, math.nan, math.inf, 1j])
def test_a_number_that_is_no_share_is_refused(value):
    with pytest.raises(ValueError, match="decay is"):
        runs.real("decay", value, 1)


def test_numbers_of_numpy_are_numbers():
    assert type(runs.whole("steps", np.uint8(7), 1)) is int and type(runs.real("lr", np.float32(0.5))) is float
    assert type(runs.real("clip", 1)) is int  # as it was given: recorded results know it so


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_here_is_told_with_what_there_is(name):
    with pytest.raises(ValueError, match=rf"device '{name}' cannot be used here; there is 'cpu'"):
        runs.usable_device(name)
    assert runs.usable_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("model", [None, "gpt2", Transformer, {"vocab_size": 50}])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(ValueError, match=r"the model is .*: give a TransformerConfig"):
        runs.check_run(model, None, None, None)


def test_a_sweep_takes_no_module_since_its_first_run_would_change_the_next():
    with pytest.raises(ValueError, match="the model of 'a' is a module, which a run changes"):
        runs.check_sweep([SimpleNamespace(name="a", model=torch.nn.Linear(2, 2))], None, None, None)


def test_what_is_different_is_told_in_a_few_words():
    before, now = {"a": 1, "b": 2, "module.x": 3}, {"a": 1, "b": 3, "c": 4}
    assert runs.differences(before, now) == (
        "b was 2 and is 3; c was the default and is 4; module.x was 3 and is missing"
    )
    assert runs.differences(now, now) == ""
    assert runs.differences({}, dict.fromkeys("abcdefgh", 1)).endswith("; and 3 more")
