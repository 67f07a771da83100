"""What it costs to ask for every environment: python -m bench.conda_envs [--name BOX].

On a demo box it makes 1, 10, 25 and 50 environments of 200 packages, as releases and as plain
environments, and asks for them with the fact `CondaEnvs`, and with conda itself: `conda env list
--json` and a `conda list --json` for each. It prints the medians of five runs with their ranges, in
seconds on the box, and what one `pyinfra fact` takes on this machine. The environments are removed
again.

Their records are those of the box's environment anaconda3, over and over under other names, until
there are 200. Where the box's conda is the stand-in, its times are the stand-in's.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from facts.conda import CondaEnvs
from jupyterbox.demo.machine import STATE, Machine
from jupyterbox.program import PROGRAMS
from jupyterbox.settings import REPOSITORY

COUNTS = (1, 10, 25, 50)
PACKAGES = 200
RUNS = 5
MARK = "bench-"


def records(template: Path) -> Iterator[tuple[str, bytes]]:
    """200 records with their file names, made of a real environment's."""
    real = [json.loads(path.read_text()) for path in sorted(template.glob("conda-meta/*.json"))]
    for number in range(PACKAGES):
        record = dict(real[number % len(real)])
        if number >= len(real):
            record["name"] += f"-copy{number // len(real)}"
        stem = f"{record['name']}-{record['version']}-{record['build']}"
        yield f"{stem}.json", json.dumps(record, indent=2).encode()


class Root:
    """A box's conda, seen from this host."""

    def __init__(self, machine: Machine) -> None:
        self.path = STATE / machine.name / "root/opt/conda"
        self.template = (self.path / "releases/anaconda3").glob("*/release.json").__next__().parent

    def fill(self, count: int, releases: bool) -> None:
        """Make environments, next to those that are there."""
        self.clear()
        made = dict(records(self.template))
        for number in range(count):
            name = f"{MARK}{number:02}"
            path = self.path / (f"releases/{name}/0123456789ab" if releases else f"envs/{name}")
            self._make(path, made)
            if releases:
                write_record(path)
                (self.path / "envs" / name).symlink_to(f"../releases/{name}/0123456789ab")

    def _make(self, path: Path, made: dict[str, bytes]) -> None:
        (path / "conda-meta").mkdir(parents=True)
        (path / "bin").mkdir()
        (path / "bin/python").symlink_to("/usr/bin/python3")
        for name, content in made.items():
            (path / "conda-meta" / name).write_bytes(content)
        shutil.copy(self.template / "conda-meta/history", path / "conda-meta/history")
        for mark in self.template.glob("lib/python3*/site-packages/*.dist-info"):
            shutil.copytree(mark, path / mark.relative_to(self.template), symlinks=True)

    def clear(self) -> None:
        """Remove what was made."""
        for path in [*self.path.glob(f"envs/{MARK}*"), *self.path.glob(f"releases/{MARK}*")]:
            path.unlink() if path.is_symlink() else shutil.rmtree(path)


def write_record(path: Path) -> None:
    """A release's record, by the code that a build writes it with."""
    sys.path.insert(0, str(PROGRAMS))
    drift, prefix = __import__("drift"), __import__("prefix")
    sys.path.remove(str(PROGRAMS))
    found = prefix.Prefix(path)
    fields = ("name", "version", "build", "url")
    packages = [{key: record.get(key) for key in fields} for record in found.packages()]
    python, built = drift.baseline(found), "2026-11-23T14:02:13+00:00"
    record = {"packages": packages, "python": python, "built": built}
    (path / "release.json").write_text(json.dumps(record))


def seconds(machine: Machine, command: str) -> list[float]:
    """How long a command takes on the box, five times, without the connection."""
    script = f"date +%s.%N; ({command}) >/dev/null 2>&1; date +%s.%N"
    found = []
    for _ in range(RUNS):
        started, ended = map(float, machine.run(script, check=True).stdout.split())
        found.append(ended - started)
    return found


def whole(machine: Machine) -> list[float]:
    """How long `pyinfra fact` takes from here."""
    pyinfra = [str(Path(sys.executable).with_name("pyinfra")), "--json", "inventories/demo.py"]
    found = []
    for _ in range(RUNS):
        started = time.monotonic()
        subprocess.run(
            [*pyinfra, "fact", "facts.conda.CondaEnvs"],
            cwd=REPOSITORY,
            env={**os.environ, "JUPYTERBOX_DEMO": machine.name},
            check=True,
            capture_output=True,
        )
        found.append(time.monotonic() - started)
    return found


def shown(times: list[float]) -> str:
    """A median with its range."""
    return f"{statistics.median(times):6.2f} ({min(times):.2f}-{max(times):.2f})"


def conda_commands(count: int) -> str:
    """What conda is asked: all environments, then the packages of each."""
    conda = "/opt/conda/bin/conda"
    each = "; ".join(
        f"{conda} list --json --prefix /opt/conda/envs/{MARK}{number:02}" for number in range(count)
    )
    return f"{conda} env list --json; {each}"


@click.command()
@click.option("--name", default="demo", show_default=True, help="The demo box.")
@click.option("--conda/--no-conda", default=True, help="Whether to ask conda, too.")
def main(name: str, conda: bool) -> None:
    """Measure on a demo box that is up."""
    machine = Machine.load(name)
    root = Root(machine)
    fact: Any = CondaEnvs().command().get_raw_value()
    print(f"{'environments':<14}{'CondaEnvs, releases':>26}{'plain':>26}{'conda':>26}")
    try:
        for count in COUNTS:
            root.fill(count, releases=False)
            plain = seconds(machine, fact)
            root.fill(count, releases=True)
            releases = seconds(machine, fact)
            asked = shown(seconds(machine, conda_commands(count))) if conda else ""
            row = f"{count:<14}{shown(releases):>26}{shown(plain):>26}{asked:>26}"
            print(row, flush=True)
        print(f"`pyinfra fact` as a whole, with {COUNTS[-1]}: {shown(whole(machine))}")
    finally:
        root.clear()


if __name__ == "__main__":
    main()
