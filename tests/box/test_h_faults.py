"""A deploy may die anywhere: what ran goes on, and the next one finishes the job.

A run is cut off at one of its remote commands (tests/box/cut.py), half way into it, in every way
that runs end in. CI takes an even sample; `make test-faults` cuts at each command in each way.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest

from jupyterbox import layout
from jupyterbox.demo.machine import Machine, NoMachine
from jupyterbox.settings import Hub
from tests.box.accidents import ACCIDENTS, DISKS, TOLD, Cut, fill
from tests.box.conftest import Operator, Settings
from tests.box.locks import OLDER_HUB, lock_with
from tests.box.machines import boot, destroy
from tests.box.relay import Relay
from tests.box.user import Kernel, User, wait_for

pytestmark = [pytest.mark.once, pytest.mark.machine]

SAMPLE = 4
"""Cuts of a change that CI makes, one in each way."""

STRIDE = 12
"""Commands that each run of the first deploy gets further in CI than the one before."""

T = TypeVar("T")


@dataclass
class Run:
    """A deploy that may have had an accident: how it ended, and what it recorded until then."""

    returncode: int
    said: str
    record: list[float | str]

    @property
    def had_its_accident(self) -> bool:
        """Whether it got so far."""
        return any(isinstance(line, str) for line in self.record)


@dataclass
class Faults:
    """A box to have accidents on.

    Args:
        box: somebody who deploys to it.
        directory: for what is needed on the way.
        every: cut everywhere, in every way.
    """

    box: Operator
    directory: Path
    every: bool
    names: Iterator[int] = field(default_factory=itertools.count)

    def settings(self) -> Settings:
        """What is declared but for a change: a hub from before a change of the schema."""
        settings = self.box.settings()
        lock = self.directory / "older"
        if not lock.exists():
            lock_with(lock, "jupyterhub", OLDER_HUB)
        settings["hub"]["lock"] = str(lock)
        return settings

    def run(self, cut: Cut, settings: Settings) -> Run:
        """Deploy with an accident, and put power right; a disk that is full stays so."""
        record = self.directory / f"record{next(self.names)}"
        cut = replace(cut, machine=self.box.machine.name, record=str(record))
        run = self.box.pyinfra("-y", "deploy.py", settings=settings, program=cut.program())
        if not self.box.machine.is_running():
            self.box.machine.boot()
            self.box.machine.wait_for_ssh()
        lines = record.read_text().splitlines()
        return Run(run.returncode, run.stdout + run.stderr, [json.loads(line) for line in lines])

    def relieve(self) -> None:
        """Have room on the disks again."""
        fill(self.box.machine, None)

    def cuts(self, settings: Settings) -> Iterator[Cut]:
        """Where a deploy is cut: everywhere in every way, or at an even sample.

        Args:
            settings: are deployed once without an accident; how long each command took is where
                its middle is.
        """
        run = self.run(Cut(), settings)
        assert run.returncode == 0, run.said
        lengths = [line for line in run.record if isinstance(line, float)]
        places = range(len(lengths))
        if self.every:
            chosen = list(itertools.product(places, ACCIDENTS))
        else:
            chosen = list(zip(evenly(places, SAMPLE), itertools.cycle(ACCIDENTS), strict=False))
        for at, how in chosen:
            yield Cut(at=at, how=how, after=lengths[at] / 2)


@dataclass
class Tally:
    """How many cuts were survived, of how many; one that was not keeps no other from being made."""

    what: str
    made: int = 0
    lost: list[str] = field(default_factory=list)

    @contextmanager
    def of(self, cut: Cut) -> Iterator[None]:
        """Count one, which is lost where this raises."""
        self.made += 1
        try:
            yield
        except Exception as error:
            self.lost.append(f"{cut}\n{error}")

    def told(self) -> None:
        """Have it printed at the end of the test run.

        Raises:
            AssertionError: with every cut that was not survived.
        """
        survived = self.made - len(self.lost)
        TOLD.append(f"{self.what}: {survived} cuts survived of {self.made}")
        assert self.made >= SAMPLE // 2, f"only {self.made} were made"
        assert not self.lost, "\n\n".join(self.lost)


def evenly(of: Sequence[T], count: int) -> list[T]:
    """So many of a sequence, from all over it."""
    return [of[(2 * n + 1) * len(of) // (2 * count)] for n in range(count)]


@pytest.fixture(scope="module")
def faults(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Faults]:
    """A machine of its own, with disks that can be made full: each a tmpfs of the host's.

    They are there before the machine boots, so that nothing of them is lost when the power is.
    """
    name = f"{os.environ.get('JUPYTERBOX_TEST_BOX', 'test')}-faults"
    with suppress(NoMachine):
        sweep(Machine.load(name))
    machine = Machine.create(name, pytestconfig.getoption("--release"))
    try:
        for name, mode in DISKS.items():
            disk = machine.root / name
            disk.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", disk], check=True
            )
        boot(machine)
        directory = tmp_path_factory.mktemp("faults")
        every = "JUPYTERBOX_TEST_EVERY_CUT" in os.environ
        yield Faults(Operator(machine, directory), directory, every)
    finally:
        sweep(machine)


def sweep(machine: Machine) -> None:
    """Remove a machine with disks of the host's."""
    machine.kill()
    for name in DISKS:
        disk = machine.root / name
        if disk.is_mount():
            subprocess.run(["umount", disk], check=True)
    destroy(machine)


def test_a_first_deploy_is_finished_by_the_next_wherever_it_dies(faults: Faults) -> None:
    """Each run gets further than the one before it, until one reaches the end."""
    hows, tally = itertools.cycle(ACCIDENTS), Tally("first deploy")
    with Relay(faults.box.machine.ports["channel"]) as relay:
        settings = through(relay, faults.settings())
        relay.budget = 3_000_000
        assert faults.run(Cut(), settings).returncode != 0
        relay.budget = None
        for at in itertools.count(0, 1 if faults.every else STRIDE):
            # Nothing can be half done before: the facts of the plan only read.
            cut = Cut(at=at, how=next(hows), after=0.3, moving=True)
            run = faults.run(cut, settings)
            faults.relieve()
            if not run.had_its_accident:
                break
            tally.made += 1
        # The mirror that died counts, too.
        with tally.of(cut):
            assert run.returncode == 0, run.said
            is_as_declared(faults.box, settings)
    tally.told()


def through(relay: Relay, settings: Settings) -> Settings:
    """Settings whose conda comes through a relay."""
    text = json.dumps(settings).replace(f"127.0.0.1:{relay.target}", f"127.0.0.1:{relay.port}")
    changed: Settings = json.loads(text)
    return changed


def another_environment(faults: Faults) -> Settings:
    """Settings with a release of `python3` that has never been declared before."""
    settings = faults.settings()
    settings["environments"][0]["conda"].append(f"pip>=0.{next(faults.names)}")
    return settings


def another_hub(faults: Faults) -> Settings:
    """Settings with a release of the hub that has never been declared before, of a newer schema."""
    lock = faults.directory / f"lock{next(faults.names)}"
    shutil.copytree(Hub().lock, lock)
    with (lock / "requirements.txt").open("a") as requirements:
        requirements.write(f"# {lock.name}\n")
    settings = faults.box.settings()
    settings["hub"]["lock"] = str(lock)
    return settings


@pytest.mark.parametrize("change", [another_environment, another_hub])
def test_a_change_is_finished_by_the_next_deploy_wherever_it_dies(
    faults: Faults, change: Callable[[Faults], Settings]
) -> None:
    tally = Tally(change.__name__)
    faults.box.deploy(faults.settings())
    before, user = current(faults.box), faults.box.person("ada")
    for cut in faults.cuts(change(faults)):
        with tally.of(cut):
            tally.made -= not survive(faults, cut, change(faults), user, before)
        faults.relieve()
    tally.told()


def survive(faults: Faults, cut: Cut, settings: Settings, user: User, before: str) -> bool:
    """Change something with an accident on the way, and once more without.

    Args:
        before: the hub's release that is left, in which every cut finds the box.

    Returns:
        Whether there was one: a run may need fewer commands than the one whose were counted.
    """
    box = faults.box
    if current(box) != before:
        back = box.pyinfra("-y", "--data", f"release={before}", "tasks/rollback.py")
        assert back.returncode == 0, back.stdout + back.stderr
    user.start_server()
    kernel = user.kernel("python3")
    kernel.execute("variable = 42")
    run = faults.run(cut, settings)
    if not run.had_its_accident:
        assert run.returncode == 0, run.said
        return False
    # With the disks still full.
    still_works(user, kernel, cut)
    faults.relieve()
    box.deploy(settings)
    still_works(user, kernel, cut)
    is_as_declared(box, settings)
    return True


def current(box: Operator) -> str:
    """The hub's release."""
    return box.sh(f"basename $(readlink {layout.CURRENT})").strip()


def still_works(user: User, kernel: Kernel, cut: Cut) -> None:
    """Hold that the hub answers, and that a kernel has its variables where its box was not cut."""
    wait_for(lambda: user.fetch(f"{user.hub}/hub/health")[0] == 200, f"the hub after {cut}")
    if cut.how != "power":
        assert kernel.execute("print(variable)") == "42", cut


def is_as_declared(box: Operator, settings: Settings) -> None:
    """Hold that a deploy has nothing to do, and that the hub does what it is for."""
    assert box.changed(settings) == []
    verified = box.pyinfra("-y", "tasks/verify.py", settings=settings)
    assert verified.returncode == 0, verified.stdout + verified.stderr
