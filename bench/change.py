"""A change on a box with ten environments: one of them, a package in one of them, and the hub."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from bench.boxes import Operator, Settings, Step, conda_of, fresh, operator, settings_of
from bench.figures import Figure, Runs
from bench.fresh import seconds_of
from jupyterbox.demo.machine import Machine
from jupyterbox.settings import Hub

PART = "change"
ENVIRONMENTS = 10
SMALL = ["ipykernel", "pip"]
ADDED = "ipywidgets"
CREATE = "/opt/conda/bin/conda create --yes --json --override-channels --channel conda-forge"
INSTALL = "/opt/conda/bin/conda install --yes --json --override-channels --channel conda-forge"
BY_HAND = "/opt/conda/bench"
RELEASES = "cd /opt/conda/releases && ls -d */*/release.json | xargs stat -c '%n %i %Y'"


def measure(name: str, release: str, runs: int) -> tuple[str, list[Figure]]:
    """Measure all changes, again and again, on one box.

    Args:
        name: of the box that is made for it.
        release: of Debian or Ubuntu.
        runs: of each.

    Returns:
        Which conda the box had, and the figures.
    """
    found = Runs(PART)
    with fresh(name, release) as machine, operator() as somebody:
        settings = with_environments(settings_of(machine), ENVIRONMENTS)
        somebody.deploy({machine.name: (machine, settings)})
        # Nobody shall wait for a download that the other has made.
        by_conda(machine, settings, ADDED)
        for number in range(runs):
            another_spec(machine, settings, somebody, found, number)
            another_package(machine, settings, somebody, found, number)
        for number in range(runs):
            another_hub(machine, settings, somebody, found, number)
        return conda_of(machine), found.figures()


def with_environments(settings: Settings, count: int) -> Settings:
    """Settings with so many small environments, one of them `python3`."""
    python = settings["environments"][0]["conda"][0]
    names = ["python3", *(f"env{number:02}" for number in range(1, count))]
    small = [{"name": name, "conda": [python, *SMALL]} for name in names]
    # Each change is gone back from, and what is gone back to shall still be there.
    return {**settings, "environments": small, "keep": 100}


def changed(settings: Settings, which: int, conda: list[str]) -> Settings:
    """Settings with other specs for one environment."""
    environments = [dict(environment) for environment in settings["environments"]]
    environments[which]["conda"] = conda
    return {**settings, "environments": environments}


def another_spec(
    machine: Machine, settings: Settings, somebody: Operator, found: Runs, number: int
) -> None:
    """Another spec for one environment, which its packages fit already."""
    python, kernel, *rest = settings["environments"][1]["conda"]
    wanted = changed(settings, 1, [python, f"{kernel}>=6.{number}", *rest])
    apply(machine, wanted, somebody, found, f"one environment of {ENVIRONMENTS} changed")
    somebody.deploy({machine.name: (machine, settings)})


def another_package(
    machine: Machine, settings: Settings, somebody: Operator, found: Runs, number: int
) -> None:
    """One package more in one environment, and the same by conda itself."""
    what, package = f"one package added to one of {ENVIRONMENTS}", f"{ADDED}>=7.{number}"
    for command, seconds in by_conda(machine, settings, package).items():
        found.add(what, command, "s", seconds)
        found.add(f"{what}, its own operation", command, "s", seconds)
    wanted = changed(settings, 2, [*settings["environments"][2]["conda"], package])
    steps = apply(machine, wanted, somebody, found, what)
    [own] = [step for step in steps if step.name.endswith("Build env02")]
    found.add(f"{what}, its own operation", "jupyterbox", "s", own.seconds)
    somebody.deploy({machine.name: (machine, settings)})


def apply(
    machine: Machine, wanted: Settings, somebody: Operator, found: Runs, what: str
) -> list[Step]:
    """Deploy a change and note its seconds, what it has built and what touched; its operations."""
    before = releases(machine)
    seconds, steps = somebody.steps({machine.name: (machine, wanted)})
    after = releases(machine)
    found.add(what, "jupyterbox", "s", seconds)
    found.add(what, "jupyterbox", "remote commands", sum(step.commands for step in steps))
    found.add(what, "jupyterbox", "environments solved", len(after.keys() - before.keys()))
    touched = [path for path, state in before.items() if after.get(path) != state]
    found.add(what, "jupyterbox", "other releases touched", len(touched))
    return steps


def releases(machine: Machine) -> dict[str, str]:
    """Every release of an environment that there is, with what tells whether it was touched."""
    found = {}
    for line in machine.run(RELEASES, check=True).stdout.splitlines():
        path, _, state = line.partition(" ")
        found[path] = state
    return found


def by_conda(machine: Machine, settings: Settings, package: str) -> dict[str, float]:
    """The seconds of conda's own commands for a package more in an environment.

    One makes it anew beside the old one, as a deploy does; the other changes a copy in its place.
    """
    specs = " ".join(f"'{spec}'" for spec in settings["environments"][2]["conda"])
    with_it = f"{CREATE} --prefix {BY_HAND}/new {specs} '{package}'"
    into_it = f"{INSTALL} --prefix {BY_HAND}/there '{package}'"
    machine.run(f"rm -rf {BY_HAND}", check=True)
    create = seconds_of(lambda: machine.run(with_it))
    machine.run(f"{CREATE} --prefix {BY_HAND}/there {specs}", check=True)
    install = seconds_of(lambda: machine.run(into_it))
    machine.run(f"rm -rf {BY_HAND}", check=True)
    return {"conda create": create, "conda install": install}


def another_hub(
    machine: Machine, settings: Settings, somebody: Operator, found: Runs, number: int
) -> None:
    """A release of the hub that was never there: how long it takes, and how long nobody answers."""
    lock = somebody.directory / f"lock{number}"
    shutil.copytree(Hub().lock, lock)
    with (lock / "requirements.txt").open("a") as requirements:
        requirements.write(f"# {number}\n")
    wanted = {**settings, "hub": {**settings["hub"], "lock": str(lock)}}
    with watched(f"{machine.url}/hub/health") as silences:
        seconds, _ = somebody.deploy({machine.name: (machine, wanted)})
    found.add("another release of the hub", "jupyterbox", "s", seconds)
    found.add("of that, the hub does not answer", "jupyterbox", "s", max(silences, default=0.0))


@contextmanager
def watched(url: str) -> Iterator[list[float]]:
    """Ask for a page all the time; the seconds of each silence are in the list when it is over."""
    silences: list[float] = []
    over = threading.Event()
    opener = build_opener(ProxyHandler({}))

    def answers() -> bool:
        try:
            with opener.open(url, timeout=5):
                return True
        except (URLError, OSError):
            return False

    def watch() -> None:
        since: float | None = None
        while not over.wait(0.05):
            now = time.monotonic()
            if answers():
                if since is not None:
                    silences.append(now - since)
                since = None
            elif since is None:
                since = now

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield silences
    finally:
        over.set()
        thread.join(30)
