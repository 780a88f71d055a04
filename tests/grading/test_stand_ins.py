"""What stands in for processes, files and torch's compiler in the jail, and what is told of the rest."""

import sys
import textwrap

import pytest

from cs336lite.course import beforehand
from cs336lite.course.spec import StudentError
from cs336lite.grading.budget import Budget, Needs
from cs336lite.grading.client import Worker

linux = pytest.mark.skipif(sys.platform != "linux", reason="grading runs on Linux")


@pytest.fixture(scope="module")
def worker():
    with Worker(Needs(warm=("numpy", "torch")), Budget(load_seconds=20, memory_bytes=1 << 30)) as worker:
        yield worker


def call(student, *args):
    return student.f(*args)


def answer(worker, source, *args):
    with worker.student((("1", textwrap.dedent(source)),)) as student:
        student.begin(30)
        return student.run(call, *args)


def said(worker, source, *args):
    with pytest.raises(StudentError) as caught:
        answer(worker, source, *args)
    return str(caught.value)


def function(body):
    return "def f(*args):\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n"


# -- processes ----------------------------------------------------------------------------------------------------------

WORK = """
import multiprocessing as mp, os, queue, sys, threading, time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial

def square(x):
    return x * x

def fail_at_two(x):
    if x == 2:
        raise ValueError("two")
    return x

def append(some):
    some.append(1)
    return some

def loop(tasks, answers):
    while (task := tasks.get()) is not None:
        answers.put(task * task)

def listen(messages):
    count = 0
    while messages.get() != "end":
        count += 1
    return count

def echo(end):
    end.send(end.recv() * 2)

class Named(mp.Process):
    def __init__(self, answers):
        super().__init__(name="seven")
        self.answers, self.seen = answers, False

    def run(self):
        self.seen = True
        self.answers.put((self.name, mp.current_process().name, mp.parent_process() is None))

def run(*args, **more):
    one = mp.Process(target=args[0], args=args[1:], **more)
    one.start()
    one.join()
    return one.exitcode
"""
PROCESSES = {
    "map": ("with mp.Pool(3) as pool: return pool.map(square, range(4), 2)", [0, 1, 4, 9]),
    "map_of_a_lambda": ("with mp.Pool() as pool: return pool.map(lambda x: x + 1, [1])", [2]),
    "map_of_a_partial": ("with mp.Pool() as pool: return pool.map(partial(pow, 2), [3])", [8]),
    "imap": ("with mp.Pool(3) as pool: return list(pool.imap(square, iter(range(3))))", [0, 1, 4]),
    "imap_after_close": (
        "pool = mp.Pool(2); found = pool.imap(square, range(3)); pool.close(); pool.join(); return list(found)",
        [0, 1, 4],
    ),
    "imap_goes_on_after_an_error": (
        "found = mp.Pool(2).imap(fail_at_two, range(4)); out = []\n"
        "for _ in range(4):\n    try: out.append(found.next(timeout=9))\n    except ValueError: out.append(None)\nreturn out",
        [0, 1, None, 3],
    ),
    "error_of_a_task": (
        "try: mp.Pool(2).map(fail_at_two, range(4))\nexcept ValueError as error: return str(error)",
        "two",
    ),
    "callbacks": (
        "out = []; pool = mp.Pool(2)\npool.apply_async(square, (3,), callback=out.append)\n"
        "pool.apply_async(fail_at_two, (2,), error_callback=lambda e: out.append(str(e)))\n"
        "pool.close(); pool.join(); return sorted(map(str, out))",
        ["9", "two"],
    ),
    "async": (
        "pool = mp.Pool(2); one = pool.map_async(square, [2]); one.wait(); return [one.ready(), one.successful(), one.get()]",
        [True, True, [4]],
    ),
    "closed_pool": (
        "pool = mp.Pool(2); pool.close()\ntry: pool.map(square, [1])\nexcept ValueError as error: return str(error)",
        "Pool not running",
    ),
    "no_workers": ("try: mp.Pool(0)\nexcept ValueError: return 1", 1),
    "arguments_are_copied": ("mine = []; mp.Pool(1).map(append, [mine]); run(append, mine); return mine", []),
    "answers_are_copied": (
        "kept = [0]; got = mp.Pool(1).apply(lambda: kept); got.append(1); return kept",
        [0],
    ),
    "queues": (
        "tasks, answers = mp.Queue(), mp.Queue(maxsize=1)\nall = [mp.Process(target=loop, args=(tasks, answers)) for _ in range(3)]\n"
        "[p.start() for p in all]\n[tasks.put(i) for i in range(5)]\n[tasks.put(None) for _ in all]\n"
        "found = sorted(answers.get() for _ in range(5))\n[p.join() for p in all]\nreturn found + [p.exitcode for p in all]",
        [0, 1, 4, 9, 16, 0, 0, 0],
    ),
    "queue_is_polled": (
        "answers = mp.Queue(); p = mp.Process(target=lambda: answers.put(5)); p.start(); out = []\n"
        "while p.is_alive() or not answers.empty():\n    try: out.append(answers.get_nowait())\n    except queue.Empty: pass\nreturn out",
        [5],
    ),
    "queue_times_out": ("try: mp.Queue().get(timeout=0.01)\nexcept queue.Empty: return 1", 1),
    "joinable": (
        "tasks = mp.JoinableQueue()\ndef work():\n    while True: tasks.get(); tasks.task_done()\n"
        "p = mp.Process(target=work, daemon=True); p.start(); tasks.put(1); tasks.join(); p.terminate(); p.join(); return p.exitcode",
        -15,
    ),
    "exit_code": ("return [run(square, 1), run(lambda: 1 / 0), run(sys.exit, 3), run(sys.exit)]", [0, 1, 3, 0]),
    "killed": (
        "def spin():\n    while True: pass\np = mp.Process(target=spin); p.start(); p.kill(); p.join(); return p.exitcode",
        -9,
    ),
    "subclass": (
        "answers = mp.Queue(); p = Named(answers); p.start(); got = answers.get(); p.join(); return [*got[:2], p.seen]",
        ["seven", "seven", False],
    ),
    "values": (
        "count, table = mp.Value('i', 0), mp.Array('d', [1, 2])\n"
        "def add():\n    for _ in range(50):\n        with count.get_lock(): count.value += 1\n    table[0] += 1\n"
        "all = [mp.Process(target=add) for _ in range(3)]; [p.start() for p in all]; [p.join() for p in all]\n"
        "return [count.value, table[:]]",
        [150, [4.0, 2.0]],
    ),
    "locks": (
        "lock, event, barrier, places = mp.Lock(), mp.Event(), mp.Barrier(2), mp.Semaphore(2)\n"
        "def work():\n    event.wait(); barrier.wait()\n    with lock, places: pass\n"
        "p = mp.Process(target=work); p.start(); event.set(); barrier.wait(); p.join(); return p.exitcode",
        0,
    ),
    "condition": (
        "ready, flag = mp.Condition(), mp.Value('b', 0)\ndef work():\n    with ready: flag.value = 1; ready.notify_all()\n"
        "p = mp.Process(target=work); p.start()\nwith ready: ready.wait_for(lambda: flag.value)\np.join(); return p.exitcode",
        0,
    ),
    "pipe": (
        "here, there = mp.Pipe(); p = mp.Process(target=echo, args=(there,)); p.start(); there.close(); here.send(21)\n"
        "out = [here.recv()]; p.join()\ntry: here.recv()\nexcept EOFError: out.append('end')\nreturn out",
        [42, "end"],
    ),
    "manager": (
        "with mp.Manager() as manager:\n    table, names = manager.dict(), manager.list()\n"
        "    def work(table, names, i): table[i] = i; names.append(i)\n"
        "    mp.Pool(2).starmap(work, [(table, names, i) for i in range(3)]); return [dict(table), list(names)]",
        [{0: 0, 1: 1, 2: 2}, [0, 1, 2]],
    ),
    "a_task_that_listens": (
        "messages = mp.Manager().Queue(); pool = mp.Pool(4); one = pool.apply_async(listen, (messages,))\n"
        "[pool.apply_async(messages.put, (i,)).get() for i in range(3)]; messages.put('end'); return one.get()",
        3,
    ),
    "start_methods": (
        "out = []\nfor method in mp.get_all_start_methods():\n    mp.set_start_method(method, force=True)\n"
        "    out += mp.get_context(method).Pool(2).map(square, [2])\nreturn out",
        [4, 4, 4],
    ),
    "executor": (
        "with ProcessPoolExecutor(4) as executor:\n    futures = [executor.submit(square, i) for i in range(3)]\n"
        "    return [sorted(f.result() for f in as_completed(futures)), list(executor.map(square, range(3), chunksize=2))]",
        [[0, 1, 4], [0, 1, 4]],
    ),
    "pool_in_a_process": (
        "answers = mp.Queue()\ndef work():\n    with ProcessPoolExecutor(2) as e: answers.put(e.submit(square, 3).result())\n"
        "run(work); return answers.get()",
        9,
    ),
    "threads_of_multiprocessing": (
        "from multiprocessing.pool import ThreadPool\nfrom multiprocessing.dummy import Pool\nreturn ThreadPool(2).map(square, [2]) + Pool(2).map(square, [3])",
        [4, 9],
    ),
    "torch_spawn": (
        "import torch.multiprocessing as tmp\nanswers = tmp.Queue(); tmp.spawn(lambda i, q: q.put(i), args=(answers,), nprocs=2)\n"
        "return sorted([answers.get(), answers.get()])",
        [0, 1],
    ),
    "all_that_came_of_those_that_ended": (
        "answers = mp.Queue()\nall = [mp.Process(target=answers.put, args=(i,)) for i in range(20)]\n[p.start() for p in all]\n"
        "time.sleep(0.1); return sum(answers.get() for _ in all)",
        190,
    ),
    "no_thread_is_left": (
        "for _ in range(40):\n    with mp.Pool(8) as pool: pool.map(square, range(9))\n    run(square, 1)\nreturn threading.active_count()",
        1,
    ),
}  # fmt: skip


@linux
@pytest.mark.parametrize("name", PROCESSES)
def test_processes_are_done_without(worker, name):
    body, wanted = PROCESSES[name]
    assert answer(worker, WORK + function(body)) == wanted


# -- files --------------------------------------------------------------------------------------------------------------

FILES = {
    "read_back": "with open('a.txt', 'w') as f: f.write('é\\n')\nwith open('a.txt', 'a') as f: f.write('b')\n"
    "assert open('a.txt').read() == 'é\\nb' and open('a.txt', 'rb').read() == 'é\\nb'.encode() and list(open('a.txt')) == ['é\\n', 'b']",
    "modes": "with open('a', 'w+b') as f: f.write(b'hello'); f.seek(1); assert f.read(2) == b'el'; f.truncate(2)\n"
    "assert open('a', 'rb').read() == b'he'\nwith open('a', 'r+') as f: f.seek(0, 2); f.write('y')\nassert open('a').read() == 'hey'\n"
    "for mode, kind in (('x', FileExistsError), ('r', None)):\n    try: open('a', mode)\n    except OSError as e: assert type(e) is kind",
    "as_kinds": "import io; f = open('a', 'wb'); assert type(f) is io.BufferedWriter; f.close()\n"
    "f = open('a', 'w'); assert type(f) is io.TextIOWrapper and f.name == 'a' and f.mode == 'w' and f.writable() and not f.readable()",
    "folders": "os.makedirs('out/deep', exist_ok=True); p = Path('out') / 'deep' / 'm.txt'; p.write_text('hi')\n"
    "assert p.exists() and p.is_file() and p.stat().st_size == 2 and p.parent.is_dir() and os.listdir('out') == ['deep']\n"
    "assert [q.name for q in Path('out').rglob('*.txt')] == ['m.txt'] and glob.glob('out/*/*.txt') == ['out/deep/m.txt']\n"
    "assert [files for _, _, files in os.walk('out')] == [[], ['m.txt']] and p.resolve().read_bytes() == b'hi'\n"
    "p.rename('n.txt'); assert not p.exists() and Path.cwd().joinpath('n.txt').read_text() == 'hi'; os.remove('n.txt'); os.removedirs('out/deep')",
    "missing": "for path, mode in (('no/such', 'w'), ('none', 'r'), ('none', 'r+')):\n"
    "    try: open(path, mode); assert False\n    except FileNotFoundError as e: assert e.filename == path",
    "copies": "Path('a').write_text('x'); shutil.copy('a', 'b'); os.mkdir('c'); shutil.copy2('b', 'c'); shutil.copytree('c', 'd')\n"
    "assert Path('d/b').read_text() == 'x'; shutil.move('d/b', 'e'); shutil.rmtree('d'); assert os.path.exists('e') and not os.path.exists('d')",
    "change_of_folder": "os.mkdir('in'); os.chdir('in'); Path('a').touch(); os.chdir('..'); assert os.path.exists('in/a') and os.path.basename(os.getcwd()) != 'in'",
    "tempfile": "import tempfile\nwith tempfile.TemporaryDirectory() as d: Path(d, 'a').write_text('x'); assert os.listdir(d) == ['a']\n"
    "assert not os.path.exists(d)\nwith tempfile.NamedTemporaryFile('w+', suffix='.txt') as f:\n    f.write('q'); f.flush(); assert open(f.name).read() == 'q'\n"
    "assert not os.path.exists(f.name)\nfd, name = tempfile.mkstemp()\nwith os.fdopen(fd, 'w') as f: f.write('z')\nassert open(name).read() == 'z'\n"
    "with tempfile.TemporaryFile() as f: f.write(b'x'); f.seek(0); assert f.read() == b'x'\n"
    "with tempfile.SpooledTemporaryFile(max_size=2) as f: f.write(b'xyz'); f.seek(0); assert f.read() == b'xyz'",
    "logging": "import logging, logging.handlers\nlog = logging.getLogger('t')\n"
    "for h in (logging.FileHandler('t.log'), logging.handlers.RotatingFileHandler('r.log', maxBytes=9, backupCount=1)):\n"
    "    log.addHandler(h); log.warning('hey there'); log.warning('again here'); h.close(); log.removeHandler(h)\n"
    "assert 'hey' in open('t.log').read() and os.path.exists('r.log.1')",
    "formats": "import bz2, csv, gzip, json, pickle, sqlite3, zipfile\n"
    "with zipfile.ZipFile('z.zip', 'w') as z: z.writestr('a', 'b')\nassert zipfile.ZipFile('z.zip').read('a') == b'b'\n"
    "with gzip.open('g', 'wt') as g: g.write('t')\nassert gzip.open('g', 'rt').read() == 't'\n"
    "with bz2.open('g', 'wt') as g: g.write('t')\nassert bz2.open('g', 'rt').read() == 't'\n"
    "with open('p', 'wb') as f: pickle.dump([1], f)\nassert pickle.load(open('p', 'rb')) == [1]\n"
    "with open('c', 'w', newline='') as f: csv.writer(f).writerow([1, 2])\nassert open('c', newline='').read() == '1,2\\r\\n'",
    "arrays": "import numpy as np, torch\nnp.save('n.npy', np.ones(3)); np.savez('n.npz', a=np.ones(3)); np.savetxt('n.txt', np.ones(3))\n"
    "assert np.load('n.npy').sum() == np.load('n.npz')['a'].sum() == np.loadtxt('n.txt').sum() == 3\n"
    "for path in ('t.pt', Path('u.pt')): torch.save({'a': torch.ones(2)}, path); assert torch.load(path)['a'].sum() == 2",
    "pictures": "import matplotlib.pyplot as plt\nfrom PIL import Image\nplt.plot([1, 2])\n"
    "for path in ('p.png', 'p.pdf', 'p.svg'): plt.savefig(path); assert os.path.getsize(path) > 100\nImage.open('p.png').convert('RGB').save('q.jpg')",
    "input_mapped": "for mode, how in (('rb', dict(access=mmap.ACCESS_READ)), ('r+b', {}), ('r+b', dict(access=mmap.ACCESS_WRITE))):\n"
    "    with open(args[0], mode) as f, mmap.mmap(f.fileno(), 0, **how) as m: assert m[:] == b'a given file'\n"
    "with open(args[0], 'r+b') as f: f.write(b'X'); f.seek(0); assert f.read(3) == b'X g'\nassert open(args[0], 'rb').read() == b'a given file'",
}  # fmt: skip


@linux
@pytest.mark.parametrize("name", FILES)
def test_files_are_kept_in_memory(worker, name):
    source = "import glob, mmap, os, shutil\nfrom pathlib import Path\n" + function(FILES[name])
    with worker.student((("1", source),)) as student:
        student.begin(30)
        given = [student.file(b"a given file")] if "args[0]" in source else []
        assert student.run(call, *given) is None
        assert not {"a", "a.txt", "temporary"} & {path.name for path in worker.folder.iterdir()}


@linux
@pytest.mark.parametrize(
    "body, told",
    [
        ("import subprocess; subprocess.run(['ls'])", "PermissionError .*: no program can be started"),
        ("import os; os.system('ls')", "PermissionError .*: no program can be started"),
        ("import os; os.fork()", "PermissionError .*: no program can be started"),
        ("open('/etc/left', 'w')", "Error .*: when work is graded, files can be written beside the notebook"),
        ("open('/tmp/left', 'w')", "Error .*: when work is graded, files can be written beside the notebook"),
        (
            "import os; os.makedirs('/data/out')",
            "Error .*: when work is graded, files can be written beside the notebook",
        ),
        ("import os; os.listdir('/root')", "Error .*: when work is graded, the only files are Python's"),
        ("open('data.txt')", "FileNotFoundError .*: when work is graded, the only files are Python's"),
        ("import scipy", "`scipy` is not there when work is graded"),
        ("import pandas.core", "`pandas` is not there when work is graded"),
        ("from cs336lite import bpe", r"`cs336lite\.bpe` is not there when work is graded"),
    ],
)
def test_what_there_is_not_is_told(worker, body, told):
    with pytest.raises(StudentError, match=told):
        answer(worker, function(body))


@linux
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (  # as many write it: each process decodes its part of a file, and puts what it has counted
            "q = mp.Queue()\nall = [mp.Process(target=lambda part: q.put(part.decode()), args=(p,)) for p in (b'a', b'\\xff')]\n"
            "[p.start() for p in all]\nreturn [q.get() for _ in all]",
            r"^your code raised UnicodeDecodeError \(cell 1, line \d+\)$",
        ),
        ("q = mp.Queue(); run(q.put, 1); q.get(); q.get()", r"OSError \(cell 1, line \d+\): this waits for ever, since every"),
        ("lock = mp.Lock(); lock.acquire(); lock.acquire()", "this waits for ever"),
    ],
)  # fmt: skip
def test_a_wait_that_has_no_end_is_told_at_once(worker, body, told):
    with worker.student((("1", WORK + function(body)),)) as student:
        student.begin(30)
        with pytest.raises(StudentError, match=told):
            student.run(call)
        assert student.idle < 1


@linux
def test_what_is_told_cannot_be_chosen(worker):
    source = function("e = OSError(); e.graded_without = args[0]; raise e")
    assert said(worker, source, "processes").endswith("no process but those of `multiprocessing`")
    assert "secret" not in said(worker, source, "secret")


# -- torch and the rest -------------------------------------------------------------------------------------------------

TORCH = {
    "compile": "f = torch.compile(lambda x: x + 1); m = torch.compile(nn.Linear(2, 2), mode='max-autotune'); m(x); m.compile(); m(x)\n"
    "@torch.compile(fullgraph=True, dynamic=True)\ndef g(x): return x * 2\nassert f(x).sum() == 8 == g(x).sum()",
    "dynamo": "import torch._dynamo as d, torch._inductor.config as c\nd.config.cache_size_limit = 64; c.fx_graph_cache = True; d.reset(); d.graph_break()\n"
    "assert d.config.cache_size_limit == 64 and not torch.compiler.is_compiling() and not d.is_compiling()\n"
    "assert d.optimize('eager')(len) is len and torch.compiler.disable(len) is len and torch.compiler.disable(recursive=False)(len) is len",
    "checkpoint": "from torch.utils.checkpoint import checkpoint\nfor r in (True, False):\n    y = x.clone().requires_grad_(); checkpoint(torch.sin, y, use_reentrant=r).sum().backward(); assert y.grad is not None",
    "optimizer": "p = nn.Parameter(x.clone()); p.grad = x; o = torch.optim.AdamW([p]); o.step(); torch.optim.lr_scheduler.StepLR(o, 1).step(); assert p[0, 0] < 1",
    "differentiable": "from torch.optim.optimizer import _use_grad_for_differentiable as grad\nclass Own(torch.optim.Optimizer):\n"
    "    def __init__(self, p): super().__init__(p, dict(differentiable=False))\n    @grad\n    def step(self, closure=None): return 5\n"
    "assert Own([nn.Parameter(x)]).step() == 5",
    "loader": "from torch.utils.data import DataLoader, TensorDataset as T\nd = T(torch.ones(5, 2))\n"
    "assert [len(b[0]) for b in DataLoader(d, 2, num_workers=3, persistent_workers=True)] == [2, 2, 1]\n"
    "assert list(DataLoader(d, 5, False, None, None, 2, lambda b: len(b))) == [5]",
    "profiler": "from torch.profiler import profile\nwith profile() as p: x + 1\np.key_averages().table()",
    "transforms": "torch.func.vmap(torch.func.grad(lambda y: (y * y).sum()))(x); torch.func.jacrev(torch.exp)(x)",
    "names": "import torch.distributed as dist, torch.utils.benchmark as b, torch.nn.utils.parametrizations as p, torch.fx as fx\n"
    "from torch.nn.attention.flex_attention import flex_attention\nassert not dist.is_initialized(); torch.jit.trace(lambda y: y + 1, x)",
    "flops": "from torch.utils.flop_counter import FlopCounterMode\nwith FlopCounterMode(display=False) as c: x @ x\nassert c.get_total_flops() == 16",
    "beartype": "from beartype import beartype\nfrom jaxtyping import Float, jaxtyped\nfrom torch import Tensor\n"
    "@jaxtyped(typechecker=beartype)\ndef f(y: Float[Tensor, 'a b']) -> Float[Tensor, 'b a']: return y.T\nf(x)",
    "progress": "from tqdm import tqdm\nfrom tqdm.auto import trange\nfrom tqdm.contrib.concurrent import process_map, thread_map\n"
    "assert sum(tqdm(range(3))) + sum(trange(3)) == 6 and process_map(abs, [-1], max_workers=2, chunksize=1) == [1] == thread_map(abs, [-1])",
    "versions": "from importlib.metadata import version\nassert version('torch').startswith('2') and version('jaxtyping')",
    "measuring": "import cProfile, psutil, time, tracemalloc\ncProfile.Profile().runcall(len, []); psutil.cpu_count(); time.perf_counter()",
}  # fmt: skip


@linux
@pytest.mark.parametrize("name", TORCH)
def test_torch_does_without_its_compiler(worker, name):
    source = "import sys, torch\nfrom torch import nn\n" + function(f"x = torch.ones(2, 2)\n{TORCH[name]}")
    source += "    return len([m for m in sys.modules if m.startswith('torch._dynamo.')])\n"
    assert answer(worker, source) == 1  # its settings


@linux
def test_tools_of_the_course_do_no_harm(worker):
    source = """
    from cs336lite.course import check, export_solution, have, hint, status
    from cs336lite.course.data import default_corpus, documents, load, stories
    from cs336lite.course.paths import CourseError, find_root
    from cs336lite.course import results

    def f():
        assert check("a1_bpe", "train").passed and not have("a1")
        with results.recorded("x"):
            print(f"{status():>10}", hint("a1"), find_root())
        try:
            raise CourseError
        except CourseError:
            return len(list(documents(default_corpus()))) > 2 and load("tinystories").exists() and len(stories(3))
    """
    assert answer(worker, source) == 3


# -- told beforehand ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source, told",
    [
        ("import numpy as np, regex, torch.nn, collections, einops", []),
        ("import scipy.stats\nfrom pandas import DataFrame", ["`scipy` is not", "`pandas` is not"]),
        ("from multiprocessing import Pool\nimport multiprocessing", ["processes run one after another"]),
        ("from concurrent.futures import ProcessPoolExecutor", ["processes run one after another"]),
        ("from concurrent.futures import ThreadPoolExecutor", []),
        ("import subprocess\nsubprocess.run(['ls'])", ["no program can be started"]),
        ("with open(input_path, 'rb') as f: pass\nopen(vocab_path, encoding='utf-8')", []),
        ("open('out.txt', 'w')", ["files that you write"]),
        ("open('/tmp/out.txt', mode='w')", ["when work is graded, files can be written beside"]),
        ("from pathlib import Path\nPath('x').write_text('y')\nplt.savefig('x.png')", ["files that you write"]),
        (
            "import mine\nopen('mine.py')",
            ["only the notebook is graded: `mine`", "only the notebook is graded: `mine.py`"],
        ),
        ("import requests", ["there is no network"]),
        ("def broken(:", []),
    ],
)
def test_told_beforehand(tmp_path, source, told):
    path = tmp_path / "solution.py"
    path.write_text(source)
    (tmp_path / "mine.py").write_text("")
    notes = beforehand.notes(path)
    assert len(notes) == len(told) and all(note.startswith(start) for note, start in zip(notes, told, strict=True))
