"""A deploy that has nothing to do, and a plan, near and far; and the same by Ansible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench import boxes
from bench.boxes import Failed, fresh, operator, sessions, settings_of
from bench.figures import Figure, Runs
from bench.playbook import Ansible, install
from bench.relay import Relay
from jupyterbox.demo.machine import Machine

PART = "noop"
RTTS = (0, 20, 100)  # milliseconds

Measure = Callable[[], tuple[float, str]]


def measure(name: str, release: str, runs: int) -> tuple[str, list[Figure]]:
    """Measure both, one box after the other.

    Args:
        name: of the box that is made for it.
        release: of Debian or Ubuntu.
        runs: of each.

    Returns:
        Which conda the boxes had, and the figures.
    """
    found = Runs(PART)
    install()
    with fresh(name, release) as machine:
        ours(machine, found, runs)
        conda = boxes.conda_of(machine)
    with fresh(name, release) as machine:
        ansible(machine, found, runs)
    return conda, found.figures()


def ours(machine: Machine, found: Runs, runs: int) -> None:
    """pyinfra's figures, on a box that it has deployed to."""
    target = {machine.name: (machine, settings_of(machine))}
    with operator() as somebody:
        somebody.deploy(target)
    for rtt in RTTS:
        with Relay(machine.ssh_port, rtt / 1000) as relay, operator(relay) as somebody:
            gauge = Gauge(found, "jupyterbox", machine, relay)
            for _ in range(runs):
                said = gauge.note(f"deploy at {rtt} ms", partial(somebody.deploy, target))
                nothing_in(said, bool(changes(said)))
                said = gauge.note(f"plan at {rtt} ms", partial(somebody.deploy, target, "--dry"))
                nothing_in(said, bool(planned(said, machine.name)))


def changes(said: str) -> int:
    """How many operations have changed something, by the table at a run's end.

    Args:
        said: its whole output.
    """
    total = next(line for line in said.splitlines() if "Grand total" in line)
    # Hosts, changed, errors, not changed.
    return int(total.split()[3].replace("-", "0"))


def planned(said: str, name: str) -> list[str]:
    """The lines of a plan's table that would change something on a box.

    Args:
        said: its whole output.
        name: of the box.
    """
    return [line for line in said.splitlines() if f"1 ({name})" in line]


def ansible(machine: Machine, found: Runs, runs: int) -> None:
    """Ansible's figures, on a box that the playbook has converged."""
    settings = settings_of(machine)
    with operator() as somebody:
        Ansible(somebody, machine, settings).run()
    for rtt in RTTS:
        with Relay(machine.ssh_port, rtt / 1000) as relay, operator(relay) as somebody:
            gauge = Gauge(found, "ansible", machine, relay)
            playbook = Ansible(somebody, machine, settings)
            for _ in range(runs):
                said = gauge.note(f"deploy at {rtt} ms", playbook.run)
                nothing_in(said, "changed=0" not in said)
                said = gauge.note(f"plan at {rtt} ms", partial(playbook.run, "--check"))
                nothing_in(said, "changed=0" not in said)


def nothing_in(said: str, changed: bool) -> None:
    """Hold that a run has had nothing to do.

    Raises:
        Failed: it has changed something.
    """
    if changed:
        raise Failed(f"a run that should change nothing:\n{said[-4000:]}")


@dataclass
class Gauge:
    """Measures runs of one tool on one box.

    Args:
        found: gets the figures.
        who: the tool.
        machine: the box.
        relay: the way to it.
    """

    found: Runs
    who: str
    machine: Machine
    relay: Relay

    def note(self, what: str, measure: Measure) -> str:
        """One run's seconds, remote commands and bytes; its output."""
        commands, size = sessions(self.machine), self.relay.bytes
        seconds, said = measure()
        self.found.add(what, self.who, "s", seconds)
        # Asking how many there were was one more.
        count = sessions(self.machine) - commands - 1
        self.found.add(what, self.who, "remote commands", count)
        self.found.add(what, self.who, "kB", (self.relay.bytes - size) / 1000)
        return said
