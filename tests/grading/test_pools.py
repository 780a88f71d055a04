"""Grading with too little protection, in a jail for each, on a cluster, and once more from a kept verdict."""

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import RIGHT, run, small_notebook, submit

from cs336lite.course.paths import CourseError
from cs336lite.course.spec import load_spec
from cs336lite.grading import bubblewrap, doctor, jail, limited, pools, runner
from cs336lite.grading.bench import Bench
from cs336lite.grading.judge import Judge, replay
from cs336lite.grading.pools import Cluster, Item, Processes
from cs336lite.grading.submission import Submission

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
HOLDS = {layer.name for layer in doctor.layers() if layer.holds} if sys.platform == "linux" else set()
WRONG = "def double(x):\n    return x * x"


def submission(*answers):
    return Submission(tuple((str(n), answer) for n, answer in enumerate(answers)))


SUBMISSIONS = [submission(*RIGHT), submission(WRONG, RIGHT[1]), submission("import os\ndef double(x): os._exit(0)")]
SCORES = [6, 2, 0]


def scores(pool, submissions=SUBMISSIONS):
    found = {}
    with pool:
        for number, one in enumerate(submissions):
            for item, verdict in pool.take(Item(number, one)):
                found[item.label] = verdict.score
        for item, verdict in pool.finish():
            found[item.label] = verdict.score
    return [found[number] for number in range(len(submissions))]


# -- protection -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layers, enough",
    [
        ((), False),
        (("Landlock",), False),
        (("bubblewrap", "Landlock"), False),
        (("seccomp",), False),
        (("seccomp", "Landlock"), True),
        (("seccomp", "bubblewrap"), True),
    ],
)
def test_too_few_layers_stop_the_grading_unless_it_is_said_to_trust(small_course, monkeypatch, layers, enough):
    if enough and (missing := set(layers) - HOLDS):
        pytest.skip(f"on this machine {' and '.join(sorted(missing))} does not hold")
    monkeypatch.setattr(Judge, "LAYERS", layers)
    if enough:
        with Judge(small_course, "a1_bpe") as judge:
            verdict = judge.judge(SUBMISSIONS[0])
            assert set(layers) <= set(verdict.provenance["layers"]) and verdict.score == 6
        return
    with Judge(small_course, "a1_bpe") as judge, pytest.raises(CourseError, match="--trust-submissions") as caught:
        judge.judge(SUBMISSIONS[0])
    assert "cs336lite doctor" in str(caught.value) and not list((small_course / "verdicts").rglob("*.json"))
    with Judge(small_course, "a1_bpe", trust=True) as judge:
        assert judge.judge(SUBMISSIONS[0]).score == 6


@pytest.mark.skipif("Landlock" not in HOLDS, reason="Landlock does not hold on this machine")
def test_a_landlock_that_is_too_old_is_not_enough_and_its_verdicts_are_not_used(small_course, monkeypatch):
    monkeypatch.setattr(Judge, "LAYERS", ("Landlock 2", "seccomp"))
    with Judge(small_course, "a1_bpe") as judge, pytest.raises(CourseError, match="before ABI 3"):
        judge.judge(SUBMISSIONS[0])
    with Judge(small_course, "a1_bpe", trust=True) as judge:
        assert jail.WEAK_LANDLOCK in judge.judge(SUBMISSIONS[0]).provenance["layers"]
    with Judge(small_course, "a1_bpe") as judge:
        assert judge.kept(SUBMISSIONS[0]) is None


def test_a_verdict_reached_by_trust_is_not_used_without_it_and_is_told(small_course, monkeypatch):
    from rich.console import Console

    from cs336lite.grading import table

    with monkeypatch.context() as patch:
        patch.setattr(Judge, "LAYERS", ())
        with Judge(small_course, "a1_bpe", trust=True) as judge:
            weak = judge.judge(SUBMISSIONS[0])
    with Judge(small_course, "a1_bpe", trust=True) as judge:
        assert judge.kept(SUBMISSIONS[0]) == weak
    with Judge(small_course, "a1_bpe") as judge:
        assert judge.kept(SUBMISSIONS[0]) is None
        strong = judge.judge(SUBMISSIONS[0])
    for verdict, told in ((weak, True), (strong, False)):
        console = Console(record=True, width=200)
        console.print(table.of_grades("a1_bpe", [runner.Graded("ada", verdict)]))
        assert ("1 of 1 were judged by trust" in console.export_text()) is told


@pytest.mark.skipif(bubblewrap.way() is None, reason="bubblewrap is not installed or may not make namespaces")
def test_strict_starts_a_worker_for_each_submission(small_course, monkeypatch):
    started = []
    start = Bench.ready_worker
    monkeypatch.setattr(Bench, "ready_worker", lambda self: started.append(start(self)) or started[-1])
    spec = load_spec(small_course / "hidden" / "a1_bpe.py")
    with Bench(spec, "seed", strict=True) as bench:
        for one, score in zip(SUBMISSIONS, SCORES, strict=True):
            assert sum(note["result"]["points"] for note in bench.hear(one) if "result" in note) == score
            assert bench.worker is None
    assert len(set(map(id, started))) == 3 and all(worker.process.poll() is not None for worker in started)


def test_strict_without_bubblewrap_is_refused(small_course):
    result = run("cs336lite", "grade", "a1_bpe", "--strict", cwd=small_course.parent, PATH="/nowhere")
    assert result.returncode == 2 and "apt-get install bubblewrap" in result.stderr


# -- pools ------------------------------------------------------------------------------------------------------


def test_processes_judge_and_are_replaced_when_they_die(small_course):
    with Judge(small_course, "a1_bpe") as judge:
        assert scores(Processes(judge, 2)) == SCORES
    with Judge(small_course, "a1_bpe", keep=False) as judge, Processes(judge, 2) as pool:
        more = [submission(f"# {n}\n{RIGHT[0]}", RIGHT[1]) for n in range(12)]
        found, members, hit = {}, set(), set()
        for number, one in enumerate(more):
            for item, verdict in pool.take(Item(number, one)):
                found[item.label] = verdict.score
            busy = {item.label: bench.process.process.pid for bench, item in pool.busy.values()}
            members |= set(busy.values())
            if number in (2, 5, 9):  # none twice: what is lost three times is given back
                label = next(label for label in busy if label not in hit)
                hit.add(label)
                os.kill(busy[label], signal.SIGKILL)
        found |= {item.label: verdict.score for item, verdict in pool.finish()}
    assert found == dict.fromkeys(range(12), 6)
    assert len(members) > 2


@pytest.mark.parametrize(
    "left, first, later, running, worth",
    [
        (3, 4.0, [0.5], [0.1], False),  # 1.5 s of work, half of it saved by 3.5 s
        (60, 4.0, [0.5], [0.1], True),
        (60, 4.0, [0.05, 0.05], [0.01], False),
        (60, None, [], [3.0], False),  # not a verdict yet: it may be the start that takes so long
        (60, None, [], [9.0], True),
        (3, 4.0, [0.5], [30.0], True),  # the one that runs takes very long
        (60, 0.1, [0.5], [0.1], True),  # nothing is lost
        (None, 4.0, [0.1], [0.1], True),  # nobody says how many there are
    ],
)
def test_another_process_is_started_only_for_work_that_outlasts_its_start(
    monkeypatch, left, first, later, running, worth
):
    pool = Processes(judge=None, jobs=2)
    assert pool.worth_another()  # the first
    monkeypatch.setattr(pools.time, "monotonic", lambda: 100.0)
    new = first is None
    pool.busy = {n: (SimpleNamespace(new=new, since=100 - seconds), None) for n, seconds in enumerate(running)}
    pool.left, pool.first, pool.later = left, first, later
    assert pool.worth_another() == worth


@pytest.mark.parametrize("worth, processes", [(False, 1), (True, 2)])
def test_a_class_is_told_to_the_pool_and_gets_the_processes_that_it_is_worth(
    small_course, monkeypatch, worth, processes
):
    for number in range(4):
        submit(small_course, f"s{number}", small_notebook(f"# {number}\n{RIGHT[0]}", RIGHT[1]))
    assert runner.nbgrader_api(small_course).generate_assignment("a1_bpe")["success"]
    started, left = [], []
    make = pools.Bench.__init__

    def counted(self, *args):
        started.append(self)
        make(self, *args)

    def worth_another(self):
        left.append(self.left)
        return worth or not (self.idle or self.busy)

    monkeypatch.setattr(pools.Bench, "__init__", counted)
    monkeypatch.setattr(Processes, "worth_another", worth_another)
    graded = runner.grade_class(small_course, "a1_bpe", jobs=2)
    assert [one.verdict.score for one in graded] == [6] * 4
    assert len(started) == processes and {*left} <= {None, 4, 3, 2, 1} and 3 in left


def test_an_item_that_loses_its_process_every_time_is_given_back(small_course, monkeypatch):
    start = Processes.submit

    def submit_and_kill(self, item):
        start(self, item)
        for bench, _ in self.busy.values():
            os.kill(bench.process.process.pid, signal.SIGKILL)

    monkeypatch.setattr(Processes, "submit", submit_and_kill)
    with Judge(small_course, "a1_bpe", keep=False) as judge, Processes(judge, 1) as pool:
        pool.submit(Item("lost", SUBMISSIONS[0]))
        ((item, failure),) = pool.finish()
    assert item.label == "lost" and "lost 10 times: its process was killed" in str(failure)


def test_an_item_that_is_lost_while_it_is_judged_is_given_back_sooner(small_course, monkeypatch):
    advance = pools.Bench.advance

    def advance_and_kill(self, item):
        answer = advance(self, item)
        if item.about is not None:
            self.process.process.kill()
            self.process.process.wait()
        return answer

    monkeypatch.setattr(pools.Bench, "advance", advance_and_kill)
    with Judge(small_course, "a1_bpe", keep=False) as judge, Processes(judge, 1) as pool:
        pool.submit(Item("lost", SUBMISSIONS[0]))
        ((item, failure),) = pool.finish()
    assert item.lost == Processes.MOST_LOST and "lost 3 times" in str(failure)


def test_nothing_is_imported_from_the_folder_in_which_it_was_started(small_course, tmp_path):
    for name in ("regex", "random", "cs336lite", "nbgrader"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})")
    files = [str(submit(small_course, f"s{n}", small_notebook(f"# {n}\n{RIGHT[0]}", RIGHT[1]))) for n in (1, 2)]
    result = run("cs336lite", "grade", "a1_bpe", "--jobs", "2", *files, cwd=tmp_path)
    assert not (tmp_path / "imported").exists()
    assert result.returncode == 0, result.stderr


def test_a_mistake_in_the_checks_is_told_by_every_pool(small_course):
    spec = small_course / "hidden" / "a1_bpe.py"
    spec.write_text(spec.read_text() + "\nREFUSED = ('statistics.no_such',)\n")
    with Judge(small_course, "a1_bpe") as judge, pytest.raises(CourseError, match="no_such"):
        scores(Processes(judge, 2))
    with Judge(small_course, "a1_bpe") as judge, pytest.raises(CourseError, match="no_such"):
        judge.judge(SUBMISSIONS[0])
    spec.write_text("def unfinished(")
    with Judge(small_course, "a1_bpe") as judge, pytest.raises(CourseError, match="cannot be loaded: SyntaxError"):
        judge.judge(SUBMISSIONS[0])


# -- answers that cost too much ---------------------------------------------------------------------------------

COSTLY = """
import os, signal

from cs336lite.course.spec import check, expect

WARM = ()


def call(student, name):
    return getattr(student, name)


def check_of(name, act):
    def function(student, rng):
        act(student.run(call, name))

    function.__name__ = name
    return check("costs", points=1, title=name)(function)


def loop(answer):
    while answer == "loop":
        pass


def add(answer):
    if answer == "add":
        sum(range(10**12))  # no Python code runs, no signal is heard


def grow(answer):
    if answer == "grow":
        bytearray(4 << 30)


def crash(answer):
    if answer == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)


def fine(answer):
    expect(answer == "right", "wrong")


first, second, third, fourth, fifth = map(check_of, ["a", "b", "c", "d", "e"], [add, grow, crash, loop, fine])
"""
ORDINARY = "a = b = c = d = 'nothing'\ne = 'right'\n"


@pytest.fixture
def costly_course(small_course, monkeypatch):
    (small_course / "hidden" / "a1_bpe.py").write_text(COSTLY)
    monkeypatch.setattr(Processes, "LIMITS", limited.Limits(step_seconds=1.0, call_seconds=10.0))
    return small_course


def told(verdict):
    return [check.message or "passed" for check in verdict.checks]


def test_an_answer_that_costs_too_much_to_judge_fails_its_check_alone(costly_course):
    passed = ["passed"] * 5
    with Judge(costly_course, "a1_bpe", keep=False) as judge:
        assert told(judge.judge(submission(ORDINARY))) == passed
        for name, value, words in (
            ("a", "add", "more time"),
            ("c", "crash", "ends the process"),
            ("d", "loop", "more time"),
        ):
            messages = told(judge.judge(submission(f"{ORDINARY}{name} = {value!r}")))
            place = "abcde".index(name)
            assert words in messages[place], messages
            assert messages[:place] + messages[place + 1 :] == ["passed"] * 4
        messages = told(judge.judge(submission(f"{ORDINARY}b = 'grow'")))
        assert "memory" in messages[1].lower() and messages[2:] == ["passed"] * 3
        assert told(judge.judge(submission(ORDINARY))) == passed  # and nobody else pays


def test_after_two_of_them_the_rest_is_not_judged_and_the_verdict_is_kept(costly_course, monkeypatch):
    bad = submission(f"{ORDINARY}a = 'add'; c = 'crash'")
    with Judge(costly_course, "a1_bpe") as judge:
        verdict = judge.judge(bad)
        assert [check.passed for check in verdict.checks] == [False, True, False, False, False]
        assert "earlier checks" in verdict.checks[3].message
        assert judge.kept(bad) == verdict  # it costs nothing at the next run
    others = [submission(f"# {number}\n{ORDINARY}") for number in range(6)]
    with Judge(costly_course, "a1_bpe", keep=False) as judge:
        assert scores(Processes(judge, 2), [others[0], bad, *others[1:3], bad, *others[3:]]) == [5, 1, 5, 5, 1, 5, 5, 5]


def test_a_process_that_has_grown_is_replaced(small_course, monkeypatch):
    monkeypatch.setattr(Processes, "MOST_GROWN", -(1 << 40))
    with Judge(small_course, "a1_bpe", keep=False) as judge, Processes(judge, 1) as pool:
        for number, one in enumerate(SUBMISSIONS[:2]):
            list(pool.take(Item(number, one)))
            list(pool.finish())
            assert pool.idle == []


# -- a cluster --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    distributed = pytest.importorskip("distributed", reason="dask's distributed is not installed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=50,
        local_directory=str(tmp_path_factory.mktemp("dask")),
    ) as cluster:
        yield cluster


def test_a_cluster_judges_as_this_machine_does(small_course, cluster):
    with Judge(small_course, "a1_bpe") as judge:
        assert scores(Cluster(judge, cluster.scheduler_address)) == SCORES
        assert [judge.kept(s).score for s in SUBMISSIONS] == SCORES  # verdicts come home


def busy_worker(client):
    """The address of a worker that has something to judge."""
    while True:
        busy = [worker for worker, tasks in client.processing().items() if tasks]
        if busy:
            return busy[0]


def test_a_cluster_worker_that_dies_is_retried(small_course, cluster):
    more = [submission(f"# {n}\n{RIGHT[0]}", RIGHT[1]) for n in range(10)]
    slow = submission("import time\ntime.sleep(1.5)\n" + RIGHT[0], RIGHT[1])
    with Judge(small_course, "a1_bpe", keep=False) as judge:
        pool = Cluster(judge, cluster.scheduler_address)
        with pool:
            found = {}
            for number, one in enumerate([slow, *more]):
                for item, verdict in pool.take(Item(number, one)):
                    found[item.label] = verdict.score
                if number == 1:
                    address = busy_worker(pool.client)
                    pid = pool.client.run(os.getpid, workers=[address], nanny=False)[address]
                    os.kill(pid, signal.SIGKILL)
            found |= {item.label: verdict.score for item, verdict in pool.finish()}
    assert found == dict.fromkeys(range(11), 6)


def test_a_class_is_graded_on_a_cluster_by_the_command_line(small_course, cluster):
    assert runner.nbgrader_api(small_course).generate_assignment("a1_bpe")["success"]
    for number, (double, _) in enumerate([(RIGHT[0], 6), (WRONG, 2), ("import os\nos._exit(1)", 0)]):
        submit(small_course, f"student{number}", small_notebook(double, RIGHT[1]))
    submit(small_course, "student3", b"{")
    report = small_course / "report.json"
    address = cluster.scheduler_address
    result = run("cs336lite", "grade", "a1", "--dask", address, "--json", str(report), cwd=small_course.parent)
    assert result.returncode == 0, result.stderr
    assert [entry["score"] for entry in json.loads(report.read_text())] == [
        6,
        2,
        2,
        0,
    ]  # what stands beside an exit counts


def test_a_cluster_that_does_not_answer_or_has_another_version_is_told(small_course, cluster, monkeypatch):
    with Judge(small_course, "a1_bpe") as judge:
        with pytest.raises(CourseError, match="no dask scheduler answers at"):
            Cluster(judge, "nonsense://127.0.0.1:1")
        monkeypatch.setattr(pools, "grader_version", lambda assignment: "another")
        pool = Cluster(judge, cluster.scheduler_address)
        with pytest.raises(CourseError, match="another version of cs336lite"):
            scores(pool)


# -- replay -----------------------------------------------------------------------------------------------------


def test_a_verdict_is_replayed_also_after_the_checks_changed(small_course):
    with Judge(small_course, "a1_bpe") as judge:
        for one in SUBMISSIONS:
            judge.judge(one)
        path = judge.path(SUBMISSIONS[1])
    spec = small_course / "hidden" / "a1_bpe.py"
    spec.write_text(spec.read_text().replace("2 * n", "3 * n"))
    kept, new = replay(path)
    assert kept.score == new.score == 2 and kept.checks == new.checks
    result = run("cs336lite", "grade", "--replay", str(path), cwd=small_course.parent)
    assert result.returncode == 0 and "the same verdict" in result.stdout

    data = json.loads(path.read_text())
    data["checks"][0]["points"], data["checks"][0]["passed"] = 3.0, True
    path.write_text(json.dumps(data))
    result = run("cs336lite", "grade", "--replay", str(path), cwd=small_course.parent)
    assert result.returncode == 1 and "double.number: 3 -> 0" in result.stdout


def test_a_verdict_says_what_it_rests_on(small_course):
    with Judge(small_course, "a1_bpe") as judge:
        verdict = judge.judge(SUBMISSIONS[0])
        seed = judge.seed
    found = verdict.provenance
    assert found["seed"] == seed and found["python"] and found["cs336lite"] and len(found["spec"]) == 16
    assert "rlimits" in found["layers"] and "seccomp" in found["layers"]
    assert found["wall_seconds"] > 0 and found["cpu_seconds"] > 0


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]"])
def test_what_is_no_verdict_cannot_be_replayed(small_course, content):
    path = Path(small_course, "verdict.json")
    if content is not None:
        path.write_bytes(content)
    result = run("cs336lite", "grade", "--replay", str(path), cwd=small_course.parent)
    assert result.returncode == 2 and "is no verdict" in result.stderr and "Traceback" not in result.stderr
