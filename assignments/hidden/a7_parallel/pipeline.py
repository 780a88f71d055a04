"""What `pipeline` asks for: an order of forwards and backwards that comes to its end, in time, and holds little."""

from __future__ import annotations

from cs336lite.course.answers import ask, list_of
from cs336lite.course.spec import Fail, check, expect


def drive_schedule(student, cases):
    """What each stage does: (whether backward, micro-batch); None where it is no such list."""
    said = []
    for num_stages, num_microbatches in cases:
        for stage in range(num_stages):
            order = student.one_forward_one_backward(stage, num_stages, num_microbatches)
            one = []
            for kind, i in list(order)[:200]:
                one.append([{"forward": 0, "backward": 1}.get(kind, 2), int(i)])
            said.append(one)
    return said


def schedules(student, cases: list[list[int]]) -> list[list[list[list[int]]]]:
    count = sum(num_stages for num_stages, _ in cases)
    said = ask(student, list_of(list_of([int, int], least=0), count), drive_schedule, cases)
    made = []
    for num_stages, _ in cases:
        made.append(said[:num_stages])
        said = said[num_stages:]
    return made


def most_held(order: list[list[int]]) -> int:
    held = most = 0
    for kind, _ in order:
        held += 1 if kind == 0 else -1
        most = max(most, held)
    return most


def makespan(stages: list[list[list[int]]], cost: tuple[int, int]) -> int | None:
    """When the last stage is done; None for a deadlock."""
    todo, done, free = [list(order) for order in stages], {}, [0] * len(stages)
    moved = True
    while moved:
        moved = False
        for stage, orders in enumerate(todo):
            while orders:
                kind, i = orders[0]
                beside = stage - 1 if kind == 0 else stage + 1
                needs = [(kind, i, beside)] if 0 <= beside < len(stages) else []
                needs += [(0, i, stage)] if kind else []
                if not all(one in done for one in needs):
                    break
                free[stage] = max([free[stage], *(done[one] for one in needs)]) + cost[kind]
                done[kind, i, stage] = free[stage]
                orders.pop(0)
                moved = True
    return None if any(todo) else max(free)


def expect_whole(stages: list[list[list[int]]], num_microbatches: int) -> None:
    right = sorted([kind, i] for kind in (0, 1) for i in range(num_microbatches))
    for order in stages:
        expect(all(kind < 2 for kind, _ in order), "a step is called neither forward nor backward")
        beyond = any(not 0 <= i < num_microbatches for _, i in order)
        expect(not beyond, "a micro-batch is named that does not exist: there may be fewer of them than stages")
        expect(sorted(order) == right, "a stage does not do each micro-batch once forward and once backward")


def expect_in_time(stages: list[list[list[int]]], num_microbatches: int) -> None:
    for cost in ((1, 1), (1, 2), (3, 1)):
        time = makespan(stages, cost)
        expect(time is not None, "deadlock: a stage waits for another one that waits for it")
        least = (num_microbatches + len(stages) - 1) * sum(cost)
        if time > least:
            newer = any(back != sorted(back) for back in ([i for kind, i in order if kind] for order in stages))
            expect(not newer, "a newer micro-batch goes backward before an older one: the oldest goes first")
            raise Fail("stages wait longer than they must: begin with forwards until the first backward can come")


def expect_few_held(stages: list[list[list[int]]], num_microbatches: int) -> None:
    size = len(stages)
    all_first = num_microbatches > 2 and all(most_held(order) == num_microbatches for order in stages)
    expect(not all_first, "all forwards come first, as in GPipe: a stage does a backward as soon as it can")
    for stage, order in enumerate(stages):
        held = most_held(order)
        expect(held <= size - stage, "a stage holds more than num_stages - stage micro-batches at a time")


@check("pipeline", points=1.5, title="how many micro-batches a stage holds", seconds=5)
def held(student, rng):
    num_stages = rng.randint(3, 5)
    many = num_stages + rng.randint(3, 6)
    (stages,) = schedules(student, [[num_stages, many]])
    expect_whole(stages, many)
    expect_few_held(stages, many)
    for stage, order in enumerate(stages):
        message = "a stage holds fewer than num_stages - stage micro-batches, though there are enough"
        expect(most_held(order) == num_stages - stage, message)


@check("pipeline", points=1.5, title="few micro-batches, one stage", seconds=5)
def few_microbatches(student, rng):
    cases = [[2, 3], [4, 2], [5, 1], [3, 3], [1, rng.randint(2, 5)]]
    for (_, count), stages in zip(cases, schedules(student, cases), strict=True):
        expect_whole(stages, count)
        expect_in_time(stages, count)
        expect_few_held(stages, count)


@check("pipeline", points=7, title="together: all stages, to their end and in time", seconds=5)
def pipeline_together(student, rng):
    cases = [[2, rng.randint(4, 6)], [3, rng.randint(5, 8)], [4, rng.randint(6, 9)]]
    for (_, count), stages in zip(cases, schedules(student, cases), strict=True):
        expect_whole(stages, count)
        expect_in_time(stages, count)
        expect_few_held(stages, count)
