"""Demo machines for tests and benchmarks: booted bare, and gone when they are no longer needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from jupyterbox.demo.conda import conda_mirror, stop_channel
from jupyterbox.demo.machine import Machine, NoMachine
from jupyterbox.demo.steps import Steps


@contextmanager
def booted(name: str, release: str, keep: bool = False) -> Iterator[Machine]:
    """Have a bare machine with a conda channel; one of that name that was left over goes before.

    Args:
        name: the machine's.
        release: of Debian or Ubuntu.
        keep: take one that is there as it is, and leave it running.
    """
    if not keep:
        with suppress(NoMachine):
            destroy(Machine.load(name))
    try:
        machine = Machine.load(name)
    except NoMachine:
        machine = Machine.create(name, release)
    try:
        boot(machine)
        yield machine
    finally:
        if not keep:
            destroy(machine)


def boot(machine: Machine) -> None:
    """Boot a machine, and give it a conda channel."""
    machine.boot()
    machine.wait_for_ssh()
    machine.conda = conda_mirror(machine, Steps())
    machine.save()


def destroy(machine: Machine) -> None:
    """Remove a machine and what serves its conda channel."""
    stop_channel(machine)
    machine.destroy()
