"""Demo boxes to measure on, and the operator who runs pyinfra against them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.relay import Relay
from jupyterbox.demo.inventory import connection, demo_settings
from jupyterbox.demo.machine import Machine
from jupyterbox.settings import REPOSITORY
from tests.box.machines import booted

Settings = dict[str, Any]

PYINFRA = (str(Path(sys.executable).with_name("pyinfra")),)
LIMIT = 3600  # seconds that anything may take
SESSIONS = "journalctl -q --no-pager -t sshd -t sshd-session | grep -c 'Starting session: ' || true"


class Failed(Exception):
    """What was to be measured did not work."""


@contextmanager
def fresh(name: str, release: str) -> Iterator[Machine]:
    """A box fresh from its installation, for as long as it is needed.

    Args:
        name: the box's; one that is there is destroyed first.
        release: of Debian or Ubuntu.
    """
    with booted(name, release) as machine:
        log_sessions(machine)
        yield machine


def log_sessions(machine: Machine) -> None:
    """Have the box's sshd write down each remote command."""
    config = "/etc/ssh/sshd_config.d/bench.conf"
    machine.run(f"echo LogLevel VERBOSE > {config} && systemctl reload ssh", check=True)


def sessions(machine: Machine) -> int:
    """How many remote commands the box's sshd has seen, of whatever tool; this one included."""
    return int(machine.run(SESSIONS, check=True).stdout)


def settings_of(machine: Machine) -> Settings:
    """A fresh copy of the demo's settings, to change and to deploy."""
    settings: Settings = json.loads(json.dumps(demo_settings(machine), default=str))
    return settings


def conda_of(machine: Machine) -> str:
    """Which conda a box has, in words."""
    if machine.conda:
        return "a stand-in from a local channel, since its hosts could not be reached"
    return "Miniforge's, from conda-forge"


def timed(command: Sequence[str], **options: Any) -> tuple[float, str]:
    """Run a command on this machine: its seconds, and what it printed.

    Raises:
        Failed: it did, or took longer than anything may.
    """
    started = time.monotonic()
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        **options,
    )
    seconds = time.monotonic() - started
    if done.returncode:
        raise Failed(f"{' '.join(command)}\n{done.stdout[-4000:]}")
    return seconds, done.stdout


@dataclass
class Step:
    """An operation of a run."""

    name: str
    seconds: float
    commands: int


@dataclass
class Operator:
    """Somebody with this repository who deploys.

    Args:
        directory: for what is needed on the way.
        relay: through which the first box is reached, if it is.
    """

    directory: Path
    relay: Relay | None = None
    known_hosts: Path = field(init=False)

    def __post_init__(self) -> None:
        self.known_hosts = self.directory / "known_hosts"

    def deploy(
        self, boxes: Mapping[str, tuple[Machine, Settings]], *arguments: str
    ) -> tuple[float, str]:
        """Deploy to boxes, or whatever the arguments say: the seconds, and the output.

        Args:
            boxes: by the names that they shall have in the inventory.
            arguments: pyinfra's; by default a deploy without a plan.
        """
        return self._pyinfra(PYINFRA, boxes, arguments)

    def steps(
        self, boxes: Mapping[str, tuple[Machine, Settings]], *arguments: str
    ) -> tuple[float, list[Step]]:
        """The same: the seconds, and each operation's part of it."""
        record = self.directory / "record"
        record.unlink(missing_ok=True)
        program = (sys.executable, "-m", "bench.counting", str(record))
        seconds, _ = self._pyinfra(program, boxes, arguments)
        return seconds, [Step(**json.loads(line)) for line in record.read_text().splitlines()]

    def _pyinfra(
        self,
        program: Sequence[str],
        boxes: Mapping[str, tuple[Machine, Settings]],
        arguments: Sequence[str],
    ) -> tuple[float, str]:
        declared = self.directory / "boxes.json"
        declared.touch(mode=0o600)
        entries = [
            {"name": name, "settings": settings, "connection": self.way_to(machine)}
            for name, (machine, settings) in boxes.items()
        ]
        declared.write_text(json.dumps(entries))
        return timed(
            [*program, "bench/inventory.py", *(arguments or ("-y",)), "deploy.py"],
            cwd=REPOSITORY,
            env={**os.environ, "PYINFRA_PROGRESS": "off", "JUPYTERBOX_BENCH": str(declared)},
        )

    def way_to(self, machine: Machine) -> dict[str, Any]:
        """How pyinfra reaches a box: straight, or through the relay."""
        way = {"ssh_hostname": machine.ssh_host, **connection(machine)}
        if not self.relay or self.relay.target != machine.ssh_port:
            return way
        known = machine.known_hosts.read_text()
        port, by_relay = f":{machine.ssh_port} ", f":{self.relay.port} "
        self.known_hosts.write_text(known.replace(port, by_relay))
        return way | {
            "ssh_port": self.relay.port,
            "ssh_known_hosts_file": str(self.known_hosts),
        }


@contextmanager
def operator(relay: Relay | None = None) -> Iterator[Operator]:
    """An operator with a directory that nobody else reads, gone when it is over."""
    with tempfile.TemporaryDirectory(prefix="jupyterbox-bench-") as directory:
        yield Operator(Path(directory), relay)
