"""The right solution of an assignment as people write it who use processes, files, and the libraries they know.

Each style makes a submission of an assignment's right notebook. It adds a cell in front that defines ``use``, which needs
some library, and one at the end that lets the solution call it when it is first used.
"""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Callable

import nbformat
from nbformat import NotebookNode

ENTRY = {
    "a1_bpe": "train_bpe",
    "a2_attention": "scaled_dot_product_attention",
    "a3_rope": "RotaryPositionalEmbedding.forward",
    "a4_lion": "Lion.step",
    "a5_moe_router": "dispatch",
    "a6_inference": "sample",
    "a7_parallel": "ring_all_reduce",
}
"""What every check of an assignment, or most of them, call sooner or later."""

AROUND = """
import functools

def _around(function):
    used = []

    @functools.wraps(function)
    def call(*args, **kwargs):
        if not used:
            used.append(use())
        return function(*args, **kwargs)

    return call

{entry} = _around({entry})
use()
"""


def using(cell: str) -> Callable[[NotebookNode, str], NotebookNode]:
    """The style of a solution that calls ``use``, which this cell defines."""

    def style(notebook: NotebookNode, assignment: str) -> NotebookNode:
        notebook = copy.deepcopy(notebook)
        first = nbformat.v4.new_code_cell(textwrap.dedent(cell).strip())
        last = nbformat.v4.new_code_cell(AROUND.format(entry=ENTRY[assignment]).strip())
        notebook.cells = [first, *notebook.cells, last]
        return notebook

    return style


def wrapped(cell: str) -> Callable[[NotebookNode, str], NotebookNode]:
    """The style of a solution whose entry is given to ``wrap``, which this cell defines."""

    def style(notebook: NotebookNode, assignment: str) -> NotebookNode:
        notebook = copy.deepcopy(notebook)
        entry = ENTRY[assignment]
        text = f"{textwrap.dedent(cell).strip()}\n\n{entry} = wrap({entry})"
        notebook.cells.append(nbformat.v4.new_code_cell(text))
        return notebook

    return style


POOL = """
from multiprocessing import Pool, cpu_count

START = 0

def begin(start):
    global START
    START = start

def square(x):
    return x * x + START

def add(x, y):
    return x + y

def use():
    with Pool(min(4, cpu_count()), initializer=begin, initargs=(1,)) as pool:
        assert pool.map(square, range(5), chunksize=2) == [1, 2, 5, 10, 17]
        assert sorted(pool.imap_unordered(square, range(3))) == [1, 2, 5]
        assert pool.starmap(add, [(1, 2), (3, 4)]) == [3, 7]
        waiting = [pool.apply_async(add, (i, 1)) for i in range(3)]
        assert [one.get(timeout=60) for one in waiting] == [1, 2, 3]
"""

PROCESS = """
import multiprocessing as mp

def work(tasks, answers):
    while (task := tasks.get()) is not None:
        answers.put((task, sum(range(task))))

def use():
    tasks, answers = mp.Queue(), mp.Queue(maxsize=2)
    workers = [mp.Process(target=work, args=(tasks, answers)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for task in range(6):
        tasks.put(task)
    for _ in workers:
        tasks.put(None)
    found = dict(answers.get() for _ in range(6))
    for worker in workers:
        worker.join()
    assert found == {task: sum(range(task)) for task in range(6)}
    assert all(worker.exitcode == 0 for worker in workers)
"""

EXECUTOR = """
import os
from concurrent.futures import ProcessPoolExecutor, as_completed

def double(x):
    return 2 * x

def use():
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as executor:
        assert list(executor.map(double, range(4), chunksize=2)) == [0, 2, 4, 6]
        futures = {executor.submit(double, i): i for i in range(3)}
        assert all(future.result() == 2 * futures[future] for future in as_completed(futures))
"""

CONTEXTS = """
import multiprocessing

def fill(table, names, lock, counter, i):
    with lock:
        counter.value += 1
    table[i] = i * i
    names.append(multiprocessing.current_process().name)

def use():
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        lock, counter = context.Lock(), context.Value("i", 0)
        with context.Manager() as manager:
            table, names = manager.dict(), manager.list()
            workers = [context.Process(target=fill, args=(table, names, lock, counter, i)) for i in range(3)]
            [worker.start() for worker in workers]
            [worker.join() for worker in workers]
            assert dict(table) == {0: 0, 1: 1, 2: 4} and len(set(names)) == 3 and counter.value == 3
"""

LOGGING = """
import logging
from pathlib import Path

def use():
    Path("logs").mkdir(exist_ok=True)
    logger = logging.getLogger("solution")
    handler = logging.FileHandler("logs/train.log", mode="w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(processName)s %(message)s"))
    logger.addHandler(handler)
    logger.warning("one step")
    logger.removeHandler(handler)
    handler.close()
    assert Path("logs/train.log").read_text().endswith("one step\\n")
"""

CACHE = """
import json
import os
import pickle

def use():
    if not os.path.exists("cache/table.pkl"):
        os.makedirs("cache", exist_ok=True)
        with open("cache/table.pkl", "wb") as file:
            pickle.dump({(b"a", b"b"): 1}, file)
    with open("cache/table.pkl", "rb") as file:
        assert pickle.load(file) == {(b"a", b"b"): 1}
    with open("cache/table.json", "w", encoding="utf-8") as file:
        json.dump({"é": 1}, file, ensure_ascii=False)
    assert json.load(open("cache/table.json", encoding="utf-8")) == {"é": 1}
    assert sorted(os.listdir("cache")) == ["table.json", "table.pkl"]
"""

TEMPORARY = """
import os
import tempfile

def use():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "text.txt")
        with open(path, "w") as file:
            file.write("some text")
        assert os.path.getsize(path) == 9
    assert not os.path.exists(path)
    with tempfile.NamedTemporaryFile("w+", suffix=".txt") as file:
        file.write("more")
        file.flush()
        assert open(file.name).read() == "more"
"""

CHECKPOINT = """
import torch
from torch.utils.checkpoint import checkpoint

def use():
    x = torch.ones(2, requires_grad=True)
    checkpoint(lambda t: t * t, x, use_reentrant=False).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    torch.save({"x": x.detach()}, "x.pt")
    assert torch.equal(torch.load("x.pt")["x"], torch.ones(2))
"""

TYPES = """
import torch
from beartype import beartype
from einops import einsum, rearrange
from jaxtyping import Float, jaxtyped
from torch import Tensor

@jaxtyped(typechecker=beartype)
def turned_product(x: Float[Tensor, "a b"], y: Float[Tensor, "b c"]) -> Float[Tensor, "c a"]:
    return rearrange(einsum(x, y, "a b, b c -> a c"), "a c -> c a")

@beartype
def longest(words: list[str]) -> int:
    return max(map(len, words))

def use():
    assert turned_product(torch.ones(2, 3), torch.ones(3, 4)).shape == (4, 2)
    assert longest(["a", "bc"]) == 2
"""

MEASURING = """
import cProfile
import io
import pstats
import time

import psutil
from tqdm import tqdm, trange
from tqdm.auto import tqdm as auto

def use():
    profile = cProfile.Profile()
    profile.enable()
    total = sum(tqdm(range(4), desc="steps")) + sum(trange(3)) + sum(auto(range(2)))
    profile.disable()
    pstats.Stats(profile, stream=io.StringIO()).sort_stats("cumulative").print_stats(5)
    profile.dump_stats("profile.out")
    try:
        psutil.Process().memory_info().rss
    except psutil.Error:
        pass
    assert total == 10 and time.perf_counter() > 0
"""

LOADING = """
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

class Squares(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, i):
        return torch.tensor(float(i * i))

def use():
    batches = list(DataLoader(Squares(), batch_size=2, num_workers=2, persistent_workers=True, prefetch_factor=2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert len(DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2, shuffle=True, pin_memory=True)) == 2
"""

COURSE = """
from cs336lite.course import check, have, hint, status
from cs336lite.course.data import SEPARATOR, default_corpus, documents, load, technical_text
from cs336lite.course.measure import best_seconds, reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.course.paths import CourseError

def use():
    path = default_corpus()
    assert SEPARATOR in open(path, encoding="utf-8").read() and all(documents(load("default")))
    fig, ax = axes(xlabel="steps")
    ax.plot([1, 2], color=COLORS["blue"])
    finish(fig)
    reveal("seconds", best_seconds(lambda: None)[0])
    print(check("a1_bpe").summary, status(), hint("a1_bpe", "train"), have("a1"))
"""

PICTURE = """
import matplotlib.pyplot as plt

def use():
    figure, axis = plt.subplots()
    axis.plot([1, 2, 3])
    figure.savefig("curve.png")
    plt.close(figure)
    with open("curve.png", "rb") as file:
        assert file.read(4) == b"\\x89PNG"
"""

OPTIONAL = """
import importlib.util

try:
    import triton
except ImportError:
    triton = None
FLASH = importlib.util.find_spec("flash_attn") is not None

def use():
    import torch.distributed
    from torch.profiler import profile, record_function

    assert not FLASH
    with profile() as measured, record_function("step"):
        torch.func.vmap(torch.func.grad(lambda x: (x * x).sum()))(torch.ones(2, 2))
    measured.key_averages().table()
    assert torch.autograd.gradcheck(lambda x: x**3, torch.ones(2, dtype=torch.float64, requires_grad=True))
"""

COMPILED = """
import torch
import torch._dynamo

torch._dynamo.config.suppress_errors = True
torch.set_float32_matmul_precision("high")

def wrap(function):
    return torch.compile(function, dynamic=True)
"""

DISABLED = """
import torch

def wrap(function):
    return torch.compiler.disable(recursive=False)(torch._dynamo.disable(function))
"""

CHUNKS = """
import cProfile
import multiprocessing
import os
import pstats
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tqdm import tqdm

SPLIT = b"<|endoftext|>"

def boundaries(path, wanted):
    with open(path, "rb") as file:
        size, found = file.seek(0, os.SEEK_END), []
        for guess in range(size // wanted, size, max(1, size // wanted)):
            file.seek(guess)
            at = file.read().find(SPLIT)
            found.append(guess + at if at != -1 else size)
        return sorted({0, size, *found})

@dataclass
class Trainer:
    path: str
    counts: Counter = field(default_factory=Counter)

    def words_of(self, ends):
        with open(self.path, "rb") as file:
            file.seek(ends[0])
            return Counter(file.read(ends[1] - ends[0]).decode("utf-8", errors="ignore").replace(SPLIT.decode(), " ").split())

    def train(self):
        ends = boundaries(self.path, 3 * (os.cpu_count() or 1))
        parts = list(zip(ends[:-1], ends[1:]))
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            for one in tqdm(pool.imap_unordered(self.words_of, parts, chunksize=2), total=len(parts)):
                self.counts.update(one)
        with ProcessPoolExecutor(max_workers=os.cpu_count()) as executor:
            futures = [executor.submit(self.words_of, part) for part in parts]
            assert sum((future.result() for future in tqdm(futures)), Counter()) == self.counts
        return self.counts

def use():
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
        file.write("low low lower<|endoftext|>low widest" * 30)
    with cProfile.Profile() as profile:
        assert Trainer(file.name).train()["low"] == 90 - 29
    pstats.Stats(profile).strip_dirs().sort_stats("cumulative").print_stats(3)
    os.remove(file.name)
"""

STYLES: dict[str, Callable[[NotebookNode, str], NotebookNode | str]] = {
    "pool_of_processes": using(POOL),
    "processes_and_queues": using(PROCESS),
    "process_pool_executor": using(EXECUTOR),
    "start_methods_and_a_manager": using(CONTEXTS),
    "chunks_of_a_file": using(CHUNKS),
    "log_file": using(LOGGING),
    "cache_files": using(CACHE),
    "temporary_files": using(TEMPORARY),
    "checkpoint_and_save": using(CHECKPOINT),
    "types_checked_at_run_time": using(TYPES),
    "profiled_with_progress_bars": using(MEASURING),
    "data_loader_with_workers": using(LOADING),
    "tools_of_the_course": using(COURSE),
    "saved_picture": using(PICTURE),
    "optional_packages": using(OPTIONAL),
    "compiled": wrapped(COMPILED),
    "compiler_disabled": wrapped(DISABLED),
}
