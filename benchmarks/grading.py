"""Grading beside stock nbgrader: processor time and wall time for the same submissions and the same checks, as ratios.

    python benchmarks/grading.py                    20 submissions of a1_bpe and of a small torch exercise
    python benchmarks/grading.py --rounds 5         more rounds; the medians are reported
    python benchmarks/grading.py --submissions 60   a larger class

Stock nbgrader runs a notebook in a kernel, and its hidden tests are the cells of that notebook: here each grade cell
runs the very checks that our grader uses, beside the student's code. Both sides are measured from the start of the
command to its end, with all processes that it started and the recording in the gradebook. They take turns. Each grades a
small class, too, with the same answers in the same shares, so that what a command costs once, however large the class,
stands apart from what each further submission costs. From both follows what a class of any size costs.

The package's bytecode is there before anything is measured, as pip leaves it, whatever PYTHONDONTWRITEBYTECODE says.
"""

from __future__ import annotations

import argparse
import compileall
import ctypes
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from targets import told

ROOT = Path(__file__).resolve().parents[1]
TARGET = 10  # times less processor time than stock
NOISE = 0.001  # seconds of a submission, below which a difference of two runs says nothing
CLASSES = (4, 20, 60)  # students, of whom the costs are told
PR_SET_CHILD_SUBREAPER = 36


# -- courses ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exercise:
    """An assignment to grade: its checks (source), exercise names with points, and what students hand in.

    A class hands in all the ``answers``, one or several times, so that classes of any size are alike.
    """

    name: str
    checks: str
    exercises: dict[str, float]
    imports: str
    answers: list[str]


TORCH_CHECKS = """
import torch
from cs336lite.course.spec import check, expect

WARM = ("torch",)

def call(student, x, dim):
    return student.softmax(x, dim)

@check("softmax", points=2, title="sums to one")
def sums(student, rng):
    x = torch.tensor([[rng.uniform(-3, 3) for _ in range(8)] for _ in range(4)])
    got = student.run(call, x, 1)
    expect(torch.allclose(got.sum(1), torch.ones(4), atol=1e-5), "the rows do not sum to one")

@check("softmax", points=3, title="agrees with the definition, for large numbers too")
def agrees(student, rng):
    x = torch.tensor([[rng.uniform(-300, 300) for _ in range(8)] for _ in range(4)])
    got = student.run(call, x, 0)
    expect(torch.allclose(got, torch.softmax(x, 0), atol=1e-5), "subtract the maximum before you exponentiate")
"""
TORCH_ANSWERS = [
    "def softmax(x, dim):\n    e = torch.exp(x - x.max(dim, keepdim=True).values)\n    return e / e.sum(dim, keepdim=True)",
    "def softmax(x, dim):\n    return torch.exp(x - torch.logsumexp(x, dim, keepdim=True))",
    "def softmax(x, dim):\n    e = torch.exp(x)\n    return e / e.sum(dim, keepdim=True)",
    "def softmax(x, dim):\n    raise NotImplementedError",
]


MIX = (  # of the catalogue; none takes long, so that what is compared is the graders
    "right_functional",
    "right_in_parts",
    "right_linked_list_and_heap",
    "wrong_leftmost_pair",
    "wrong_no_empty_list",
)


def a1_bpe() -> Exercise:
    """The real a1: its hidden checks, and solutions of the catalogue, most of them right."""
    sys.path.insert(0, str(ROOT / "tests"))
    from catalogue import solutions, spec

    found = {solution.name: solution.source for kind in ("right", "wrong") for solution in solutions("a1_bpe", kind)}
    hidden = spec("a1_bpe", "hidden")
    return Exercise("a1_bpe", hidden.source, hidden.exercises, "", [found[name] for name in MIX])


def softmax() -> Exercise:
    """A small exercise of a notebook that imports torch."""
    return Exercise("a2_attention", TORCH_CHECKS, {"softmax": 5}, "import torch", TORCH_ANSWERS)


def notebook(exercise: Exercise, answer: str, grade: Callable[[str], str]) -> str:
    """A notebook with one solution cell and a grade cell for each exercise, whose code ``grade`` gives."""
    meta = {"schema_version": 3, "task": False}
    cells = [new_code_cell(exercise.imports)] if exercise.imports else []
    solution = {**meta, "grade_id": "solution", "solution": True, "grade": False, "locked": False}
    cells.append(new_code_cell(answer, metadata={"nbgrader": solution}))
    for name, points in exercise.exercises.items():
        graded = {
            **meta,
            "grade_id": f"grade_{name}",
            "solution": False,
            "grade": True,
            "locked": True,
            "points": points,
        }
        cells.append(new_code_cell(grade(name), metadata={"nbgrader": graded}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.writes(new_notebook(cells=cells, metadata={"kernelspec": kernel}))


def make_course(folder: Path, exercise: Exercise, times: int, config: str, grade: Callable[[str], str]) -> Path:
    """An nbgrader course with the exercise generated and every answer handed in so many times."""
    course = folder / "assignments"
    (folder / "cs336lite").mkdir(parents=True)
    for side in ("hidden", "public"):
        (course / side).mkdir(parents=True)
        (course / side / f"{exercise.name}.py").write_text(exercise.checks)
    (course / "nbgrader_config.py").write_text(config)
    source = course / "source" / exercise.name / f"{exercise.name}.ipynb"
    source.parent.mkdir(parents=True)
    solved = f"### BEGIN SOLUTION\n{exercise.answers[0]}\n### END SOLUTION"  # which ours judges before the class
    source.write_text(notebook(exercise, solved, grade))
    measure([tool("nbgrader"), "generate_assignment", exercise.name], course)
    for number, answer in enumerate(exercise.answers * times):
        path = course / "submitted" / f"student{number:02}" / exercise.name / f"{exercise.name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(notebook(exercise, f"# student {number}\n{answer}", grade))
    shutil.copy(course / "gradebook.db", course / "gradebook.before")
    return course


def ours(folder: Path, exercise: Exercise, times: int) -> Path:
    config = (ROOT / "assignments" / "nbgrader_config.py").read_text()
    return make_course(folder, exercise, times, config, lambda name: f"check({exercise.name!r}, {name!r})")


def stock(folder: Path, exercise: Exercise, times: int) -> Path:
    """The same course for stock nbgrader: each grade cell runs its checks and ends in the points that they give."""
    config = (
        f"c = get_config()\nc.CourseDirectory.root = {str(folder / 'assignments')!r}\n"
        "c.CourseDirectory.course_id = 'stock'\nc.Execute.timeout = 300\n"
    )
    spec = str(folder / "assignments" / "hidden" / f"{exercise.name}.py")
    code = (
        "from cs336lite.course.spec import LocalStudent, load_spec\n"
        "checks = [c for c in load_spec({spec!r}) if c.exercise == {name!r}]\n"
        "sum(c.run(LocalStudent(globals()), {seed!r}).points for c in checks) or 1e-9"
    )
    return make_course(
        folder, exercise, times, config, lambda name: code.format(spec=spec, name=name, seed="benchmark")
    )


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


# -- measuring --------------------------------------------------------------------------------------------------


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """Processor and wall seconds of a command and of everything that it started."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    tools = str(Path(sys.executable).parent)  # stock nbgrader calls alembic by name
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    wall = time.perf_counter() - start
    while True:  # what outlived the command has become a child of this process
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr.decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def ungrade(course: Path) -> None:
    """Forget every grade and every verdict, so that the next run starts as the first did."""
    for name in ("autograded", "verdicts"):
        shutil.rmtree(course / name, ignore_errors=True)
    shutil.copy(course / "gradebook.before", course / "gradebook.db")


def scores(course: Path, name: str) -> dict[str, float]:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        return {s.student_id: round(s.score, 4) for s in gradebook.assignment_submissions(name)}


def apart(cpu: dict[int, float]) -> tuple[float, float]:
    """What a run costs once, and for each submission, of the processor seconds of a small class and of a large one."""
    small, large = sorted(cpu)
    each = max((cpu[large] - cpu[small]) / (large - small), NOISE)
    return cpu[small] - small * each, each


def of_classes(once_and_each: dict[str, tuple[float, float]]) -> dict[int, dict[str, float]]:
    """The processor seconds of whole classes, by size and grader."""
    return {n: {name: once + n * each for name, (once, each) in once_and_each.items()} for n in CLASSES}


def compare(exercise: Exercise, submissions: int, rounds: int, folder: Path) -> dict:
    """Both graders on one exercise, in turn, with a small class and a large one.

    Medians of the large class's seconds for each submission and of the ratios of the rounds, and the processor seconds
    of one run and of one submission apart.
    """
    answers = len(exercise.answers)
    sizes = {answers * times: times for times in (1, max(2, round(submissions / answers)))}
    large = max(sizes)
    courses = {
        (which, size): make(folder / f"{which}-{size}", exercise, times)
        for which, make in (("stock", stock), ("ours", ours))
        for size, times in sizes.items()
    }
    contenders = {
        "stock": ("stock", [tool("nbgrader"), "autograde", exercise.name]),
        "ours": ("ours", [tool("cs336lite"), "grade", exercise.name]),
        "ours, 2 jobs": ("ours", [tool("cs336lite"), "grade", exercise.name, "--jobs", "2"]),
    }
    seconds: dict[tuple[str, int], list[tuple[float, float]]] = {(n, size): [] for n in contenders for size in sizes}
    found = {}
    for _ in range(rounds):
        for size in sizes:
            for name, (which, command) in contenders.items():
                ungrade(courses[which, size])
                seconds[name, size].append(measure(command, courses[which, size]))
                found[name] = scores(courses[which, size], exercise.name)  # in the end, of the large class
    cpu = {key: statistics.median(cpu for cpu, _ in measured) for key, measured in seconds.items()}
    wall = {key: statistics.median(wall for _, wall in measured) for key, measured in seconds.items()}
    of_large = {name: seconds[name, large] for name in contenders}
    parts = {name: apart({size: cpu[name, size] for size in sizes}) for name in contenders}
    pairs = list(zip(of_large["stock"], of_large["ours"], of_large["ours, 2 jobs"], strict=True))
    return {
        "submissions": large,
        "other_scores": [s for s in found["stock"] if abs(found["stock"][s] - found["ours"][s]) > 0.01],
        "cpu": {name: cpu[name, large] / large for name in contenders},
        "wall": {name: wall[name, large] / large for name in contenders},
        "apart": parts,
        "classes": of_classes(parts),
        "cpu_ratio": statistics.median(a[0] / b[0] for a, b, _ in pairs),
        "wall_ratio": statistics.median(a[1] / b[1] for a, b, _ in pairs),
        "jobs_ratio": statistics.median(b[1] / c[1] for _, b, c in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each grader")
    parser.add_argument("--submissions", type=int, default=20, help="size of the class")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    options = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("grading runs on Linux")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    from rich.console import Console
    from rich.table import Table

    from cs336lite.scratch import Scratch, sweep

    sweep()  # of runs that were killed
    compileall.compile_dir(ROOT / "cs336lite", quiet=2)

    console = Console(width=None if sys.stdout.isatty() else 130)
    table = Table(title="Grading: seconds for each submission, recording included", title_justify="left")
    columns = ("submissions", "grader", "CPU s", "once", "each", "wall s")
    ratios = ("stock / ours, CPU", "target", "each", "wall")
    for column in (*columns, *ratios):
        table.add_column(column, justify="left" if column in ("submissions", "grader") else "right")
    results = {}
    for make, title in ((a1_bpe, "a1_bpe"), (softmax, "an exercise that imports torch")):
        with Scratch("bench") as folder:
            result = results[title] = compare(make(), options.submissions, options.rounds, folder)
        for name in ("stock", "ours", "ours, 2 jobs"):
            each = result["apart"]["stock"][1] / result["apart"]["ours"][1]
            times = [f"{result['cpu_ratio']:.1f}", str(TARGET), f"{each:.1f}", f"{result['wall_ratio']:.1f}"]
            if name == "ours":
                told(f"{title}: processor time of stock nbgrader over ours", result["cpu_ratio"], at_least=TARGET)
                told(f"{title}: throughput of two jobs over one", result["jobs_ratio"], at_least=1.7)
            label = f"{result['submissions']} of {title}" if name == "stock" else ""
            apart_ = [f"{seconds:.3f}" for seconds in result["apart"][name]]
            cpu, wall = f"{result['cpu'][name]:.3f}", f"{result['wall'][name]:.3f}"
            table.add_row(label, name, cpu, *apart_, wall, *(times if name == "ours" else [""] * len(times)))
    console.print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    console.print(table)
    console.print(
        "once: CPU s of a run, whatever the size of its class; each: CPU s of one more submission", highlight=False
    )
    for title, result in results.items():
        told_of = [
            f"{number} students {cost['stock']:.0f} and {cost['ours']:.0f} ({cost['stock'] / cost['ours']:.1f})"
            for number, cost in result["classes"].items()
        ]
        console.print(f"{title}: CPU s of stock and ours (ratio): {', '.join(told_of)}", highlight=False)
        console.print(
            f"{title}: throughput of two jobs over one {result['jobs_ratio']:.2f} (target 1.7)", highlight=False
        )
        if result["other_scores"]:
            console.print(f"{title}: other scores than stock for {', '.join(result['other_scores'])}", highlight=False)
    if options.json:
        beside = options.json.with_name(options.json.name + ".part")
        beside.write_text(json.dumps(results, indent=1))
        beside.replace(options.json)


if __name__ == "__main__":
    main()
