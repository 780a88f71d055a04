"""A submission and a spec make a verdict, which is kept; a verdict that is kept can be judged again."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import platform
import re
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cs336lite import __version__
from cs336lite.course import answers, border, loading
from cs336lite.course import spec as spec_module
from cs336lite.course.paths import GRADED_MODULES, CourseError, hidden_checks
from cs336lite.course.spec import CheckResult, Spec, load_spec
from cs336lite.grading import client, meter, places, protection, sharing, surroundings
from cs336lite.grading.budget import Needs, WorkerFailure
from cs336lite.grading.seed import course_seed
from cs336lite.grading.submission import Submission
from cs336lite.grading.verdicts import Verdict, keep_spec, read_kept, read_verdict, spec_hash
from cs336lite.scratch import sweep


class Judge:
    """Judges submissions of one assignment, keeping every verdict as a file.

    The judging happens in a process with limits, whatever its caller is (see `pools`): this one reads no answers.

    Args:
        course: the folder of the nbgrader course; holds ``hidden/`` and gets ``verdicts/`` and ``.secret/``.
        assignment: its name.
        keep: read and write verdict files; otherwise every submission is judged anew.
        trust: judge even where too few layers of protection hold.
        strict: a new worker for every submission.

    Raises:
        CourseError: there are no hidden checks, or too few layers hold (unless ``trust``).
    """

    LAYERS = client.Worker.LAYERS
    BUDGET = client.Budget()

    def __init__(
        self, course: Path, assignment: str, keep: bool = True, *, trust: bool = False, strict: bool = False
    ) -> None:
        path, source = hidden_source(course, assignment)
        self.rights = sharing.rights_of(course)
        self.open(path, source, course_seed(course, self.rights), trust=trust, strict=strict)
        self.course, self.keep = course, keep

    @classmethod
    def of(cls, assignment: str, source: str, seed: str, *, trust: bool = False, strict: bool = False) -> Judge:
        """A judge by given checks (their text) and a given seed, which keeps no verdicts."""
        self = cls.__new__(cls)
        path = Path("hidden") / (assignment if loading.is_folder(source) else f"{assignment}.py")
        self.open(path, source, seed, trust=trust, strict=strict)
        self.course, self.keep, self.rights = Path(), False, sharing.PRIVATE
        return self

    def open(self, path: Path, source: str, seed: str, *, trust: bool, strict: bool) -> None:
        sweep()
        self.source_path, self.source, self.seed = path, source, seed
        self.name = path.stem
        self.trust, self.strict = trust, strict
        self.layers, self.budget = self.LAYERS, self.BUDGET
        self.code = hashlib.sha256(f"{grader_version(self.name)}/{source}/{seed}".encode()).hexdigest()
        self.pool: Any = None

    @functools.cached_property
    def spec(self) -> Spec:
        """The checks, loaded into this process."""
        return load_spec(self.source_path, self.source)

    def path(self, submission: Submission) -> Path:
        """Where this submission's verdict is kept: the name is a hash of its cells, the spec and the grader."""
        key = hashlib.sha256(f"{submission.digest()}/{self.code}".encode()).hexdigest()[:32]
        return self.course / "verdicts" / self.name / f"{key}.json"

    def judge(self, submission: Submission) -> Verdict:
        """The verdict on a submission: the kept one, or a new one that is then kept.

        Raises WorkerFailure when the process that judges was lost several times.
        """
        return self.kept(submission) or self.judge_anew(submission)

    def judge_anew(self, submission: Submission) -> Verdict:
        from cs336lite.grading.pools import Item, Processes

        if self.pool is None:
            self.pool = Processes(self, 1)
        try:
            ((_, verdict),) = [*self.pool.take(Item("", submission)), *self.pool.finish()]
        except BaseException:
            self.close()
            raise
        if isinstance(verdict, WorkerFailure):
            raise verdict
        return verdict

    def kept(self, submission: Submission) -> Verdict | None:
        """The verdict that is kept on a submission, when there is one that may be used."""
        verdict = read_verdict(self.path(submission)) if self.keep else None
        if verdict is None or not self.may_use(verdict):
            return None
        # notes depend on the file; what had to be left out, on the judged cells
        return replace(verdict, notes=(*submission.notes, *verdict.provenance.get("left", ())))

    def keep_verdict(self, submission: Submission, verdict: Verdict) -> None:
        if self.keep:
            path = self.path(submission)
            keep_spec(path.parent, self.source, self.rights)
            kept = {**asdict(verdict), "submission": {"cells": submission.cells, "name": submission.name}}
            sharing.write(path, json.dumps(kept, indent=1), self.rights)

    def may_use(self, kept: Verdict) -> bool:
        """Whether a kept verdict was reached under no less protection than is asked for now."""
        layers = kept.provenance.get("layers", ())
        return bool(kept.problem) or self.trust or not protection.missing(layers)

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()
            self.pool = None

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def verdict_of(
    judge: Judge,
    submission: Submission,
    results: list[CheckResult],
    card: dict[str, Any],
    used: dict[str, Any],
    wall: float,
) -> Verdict:
    """The verdict that results make; ``card`` is what the bench said of its checks, ``used`` what it said last."""
    provenance = {
        "cs336lite": __version__,
        "python": platform.python_version(),
        "packages": card["packages"],
        "spec": spec_hash(judge.source),
        "grader": grader_version(judge.name)[:16],
        "submission": submission.digest()[:16],
        "seed": judge.seed,
        "layers": ["rlimits", *used.get("layers", ())],
        "judged": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - wall)),
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(used.get("spent", 0.0), 3),
        "left": list(used.get("left", ())),
    }
    score = sum(r.points for r in results)
    problem, notes = submission.problem, tuple(dict.fromkeys((*submission.notes, *provenance["left"])))
    return Verdict(judge.name, score, card["max_points"], tuple(results), problem, notes, provenance, card["read"])


def needs_of(spec: Spec) -> Needs:
    """What a spec asks of the worker, by its ``WARM`` modules, those that are warm ``WHERE_NAMED`` by a submission, and
    ``REFUSED`` library functions; and what it may have.

    torch is warmed unless the spec says otherwise: its CUDA build takes 3 GiB of address space and a temporary file to
    import, which a submission does not have.
    """
    warm, refused = getattr(spec.module, "WARM", ("torch",)), getattr(spec.module, "REFUSED", ())
    named = getattr(spec.module, "WHERE_NAMED", ())
    return Needs(tuple(warm), tuple(refused), surroundings.LECTURE_MODULES.get(spec.name, ()), tuple(named))


@functools.cache
def grader_version(assignment: str) -> str:
    """A hash of what a verdict depends on beside submission, spec and seed: this grader, and the modules it hands out."""
    modules = (answers, border, loading, client, meter, places, spec_module, surroundings)
    here, handed = Path(__file__).parent, surroundings.LECTURE_MODULES.get(assignment, ())
    files = [Path(m.__file__) for m in modules] + [here / name for name in (*surroundings.PROGRAMS, "bench.py")]
    files += [*sorted(surroundings.QUIET.glob("*.py")), *surroundings.lecture_modules(handed)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def reading(spec: Spec) -> dict[str, list[str]]:
    """What to read on each exercise: ``[text, link]``, the link possibly empty, from the spec module's ``READ``.

    ``READ`` maps an exercise to a text or to ``(text, link)``. A link is an ``https://`` address or a file, as seen from
    the folder of the course: pages travel, so the page names such a file and does not link it.
    """
    found = {}
    for exercise, entry in getattr(spec.module, "READ", {}).items():
        text, link = (entry, "") if isinstance(entry, str) else entry
        found[exercise] = [str(text), str(link)]
    return found


def versions(modules: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of modules, by name; a module without a version of its own is left out."""
    found = {}
    for name in modules:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def hidden_source(course: Path, assignment: str) -> tuple[Path, str]:
    """The file or folder of an assignment's hidden checks, and its text (`loading.text_of`).

    Raises CourseError when this copy of the course has none.
    """
    path = hidden_checks(course, assignment)
    try:
        return path, loading.text_of(path)
    except FileNotFoundError:
        raise CourseError(
            f"no hidden checks for {assignment!r}: {path} does not exist. Grading needs the full repository; "
            "in a student edition use `cs336lite check`."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"the hidden checks in {path} cannot be read: {error}") from None


def replay(path: Path, *, trust: bool = False) -> tuple[Verdict, Verdict]:
    """A kept verdict, and the one that its submission, its checks and its seed give today.

    The checks are those in ``specs/`` beside the verdict, and they are run: so a verdict to replay is one that this grader
    kept, and not one that came from elsewhere.

    Raises:
        CourseError: the file is no verdict, or lacks what is needed to judge again.
    """
    kept, more = read_kept(path)
    if kept is None or kept.assignment not in GRADED_MODULES:
        raise CourseError(f"{path} is no verdict: they are kept in assignments/verdicts/<assignment>/")
    if kept.problem:
        return kept, kept  # the file could not be read: no code was ever run
    name, seed = kept.provenance.get("spec"), kept.provenance.get("seed")
    if not is_hex(name, 16) or not isinstance(seed, str) or not is_line(seed) or more["submission"] is None:
        raise CourseError(f"{path} cannot be replayed: it does not say what was judged, by which checks, and how")
    spec = path.parent / "specs" / f"{name}.py"
    if not spec.is_file() or spec.is_symlink() or spec.parent.is_symlink():
        raise CourseError(f"{spec} is missing: it holds the checks that gave the verdict")
    try:
        source = spec.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        source = ""
    if spec_hash(source) != name:
        raise CourseError(f"{spec} was changed: these are not the checks that gave the verdict; nothing was run")
    cells = tuple((label, code) for label, code in more["submission"]["cells"])
    submission = Submission(cells, more["submission"]["name"], notes=kept.notes)
    with Judge.of(kept.assignment, source, seed, trust=trust) as judge:
        return kept, judge.judge(submission)


def is_hex(text: Any, digits: int) -> bool:
    return isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", text) is not None


def is_line(text: str) -> bool:
    return 0 < len(text) <= 200 and text.isascii() and text.isprintable()
