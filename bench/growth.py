"""What a deploy that has nothing to do takes as a box grows, and with more boxes in one run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from bench.boxes import Operator, Settings, conda_of, fresh, operator, settings_of
from bench.change import with_environments
from bench.figures import Figure, Runs, slope
from jupyterbox.demo.machine import Machine

PART = "growth"
ENVIRONMENTS = (1, 10, 50)
USERS = (1, 10, 100)
BOXES = (1, 2, 4, 8)


def measure(
    name: str,
    release: str,
    runs: int,
    users: Sequence[int] = USERS,
    environments: Sequence[int] = ENVIRONMENTS,
    boxes: Sequence[int] = BOXES,
) -> tuple[str, list[Figure]]:
    """Measure growth of users and environments on one box, then of boxes.

    Args:
        name: of the box that is made for it; the others have numbers behind it.
        release: of Debian or Ubuntu.
        runs: of each.
        users: how many there shall be, ever more.
        environments: the same.
        boxes: the same.

    Returns:
        Which conda the boxes had, and the figures.
    """
    found = Runs(PART)
    with fresh(name, release) as machine, operator() as somebody:
        for count in users:
            settings = with_users(with_environments(settings_of(machine), 1), count)
            noop(found, f"users: {count}", somebody, machine, settings, runs)
        for count in environments:
            settings = with_environments(settings_of(machine), count)
            noop(found, f"environments: {count}", somebody, machine, settings, runs)
        conda = conda_of(machine)
    several(found, name, release, runs, boxes)
    grown = [*slopes(found, "user", users), *slopes(found, "environment", environments)]
    return conda, [*found.figures(), *grown]


def with_users(settings: Settings, count: int) -> Settings:
    """Settings with so many accounts."""
    [demo] = settings["users"]
    return {**settings, "users": [{**demo, "name": f"user{n:03}"} for n in range(count)]}


def noop(
    found: Runs,
    what: str,
    somebody: Operator,
    machine: Machine,
    settings: Settings,
    runs: int,
) -> None:
    """Deploy, and then again with nothing to do."""
    target = {machine.name: (machine, settings)}
    somebody.deploy(target)
    for _ in range(runs):
        seconds, _ = somebody.deploy(target)
        found.add(what, "jupyterbox", "s", seconds)
    _, steps = somebody.steps(target)
    found.add(what, "jupyterbox", "remote commands", sum(step.commands for step in steps))


def slopes(found: Runs, what: str, counts: Sequence[int]) -> list[Figure]:
    """By how much the no-op grows with each of them, from the medians."""
    medians = {figure.what: figure.median for figure in found.figures() if figure.unit == "s"}
    points = [(count, medians[f"{what}s: {count}"]) for count in counts]
    if len(points) < 2:
        return []
    return [Figure(PART, f"for each {what} more", "jupyterbox", "ms", [1000 * slope(points)])]


def several(found: Runs, name: str, release: str, runs: int, counts: Sequence[int]) -> None:
    """Boxes at once: all are deployed to in one run, then so many of them again."""
    with ExitStack() as stack:
        names = [f"{name}-{number}" for number in range(1, max(counts, default=0) + 1)]
        machines = [stack.enter_context(fresh(one, release)) for one in names]
        if not machines:
            return
        somebody = stack.enter_context(operator())
        targets = {machine.name: (machine, settings_of(machine)) for machine in machines}
        somebody.deploy(targets)
        for count in counts:
            some = dict(list(targets.items())[:count])
            for _ in range(runs):
                seconds, _ = somebody.deploy(some)
                found.add(f"boxes in one run: {count}", "jupyterbox", "s", seconds)
