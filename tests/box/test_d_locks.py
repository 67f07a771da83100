"""Locks and upgrades of environments on a real box: the same again, and nothing for nothing."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.box import tree
from tests.box.conftest import Operator, Settings

pytestmark = pytest.mark.once

JUPYTERBOX = str(Path(sys.executable).with_name("jupyterbox"))

PIP = ["wrapt==1.16.0", "markdown-it-py"]
"""A wheel that is made for this system, and one that brings another package and a script."""


def written_lock(box: Operator, settings: Settings, name: str) -> Path:
    """The lock of an environment, as the command writes it."""
    done = box.pyinfra("--env", name, settings=settings, program=(JUPYTERBOX, "lock"))
    assert done.returncode == 0, done.stdout + done.stderr
    return box.directory / f"locks/inventory{box.runs}/{name}.txt"


# Every path below a prefix with what is there, in place of its own name PREFIX.
CONTENTS = """
import hashlib, json, os, stat, sys
prefix, found = os.path.realpath(sys.argv[1]), {}
for directory, directories, files in os.walk(prefix):
    for path in (os.path.join(directory, name) for name in [*directories, *files]):
        mode = os.lstat(path).st_mode
        what = os.readlink(path) if stat.S_ISLNK(mode) else ""
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                content = file.read().replace(os.fsencode(prefix), b"PREFIX")
            what = hashlib.sha256(content).hexdigest()
        found[os.path.relpath(path, prefix)] = f"{stat.filemode(mode)} {what}"
json.dump(found, sys.stdout)
"""
COMPILED = re.compile(r".*(\.pyc|/__pycache__)")
OF_ITS_OWN = re.compile(r"release\.json|conda-meta/.*|.*\.dist-info/RECORD")
"""What tells when and from where it was installed, and what Python has compiled in it."""


def contents(box: Operator, name: str) -> dict[str, str]:
    """Every file of an environment, but for what Python compiled; of some, that it is there."""
    walked = box.machine.run(f"python3 -I - /opt/conda/envs/{name}", input=CONTENTS, check=True)
    return {
        path: what[:10] if OF_ITS_OWN.fullmatch(path) else what
        for path, what in json.loads(walked.stdout).items()
        if not COMPILED.fullmatch(path)
    }


def packages(box: Operator, name: str) -> dict[str, Any]:
    """What the current release of an environment is made of."""
    record = json.loads(box.sh(f"cat /opt/conda/envs/{name}/release.json"))
    return {key: record[key] for key in ("packages", "python", "pip")}


@pytest.fixture
def tidied(restored: Operator) -> Iterator[Operator]:
    """The deployed machine for a test that makes the environments `loose` and `locked`."""
    yield restored
    restored.sh("rm -rf /opt/conda/{envs,releases}/{loose,locked}")


def test_a_lock_makes_the_same_environment_again(tidied: Operator) -> None:
    settings = tidied.settings()
    python = settings["environments"][0]["conda"][0]
    loose = {"name": "loose", "conda": [python, "ipykernel"], "pip": PIP}
    settings["environments"].append(loose)
    tidied.deploy(settings)
    lock = written_lock(tidied, settings, "loose")
    # A box's mirrors are its own.
    assert "127.0.0.1" not in lock.read_text()

    settings["environments"].append({"name": "locked", "lock": str(lock)})
    assert tidied.changed(settings) == [
        "Environments | Build locked",
        "Kernelspecs | Publish the environments' kernels",
    ]
    assert packages(tidied, "locked") == packages(tidied, "loose")
    again = written_lock(tidied, settings, "locked")
    assert again.read_text() == lock.read_text()
    loosely = contents(tidied, "loose")
    assert len(loosely) > 1000
    assert tree.difference(loosely, contents(tidied, "locked")) == []


def test_a_solve_that_finds_nothing_new_changes_nothing(box: Operator) -> None:
    there = box.sh("ls /opt/conda/releases/python3; readlink /opt/conda/envs/python3")
    run = box.pyinfra("-y", "--data", "upgrade=python3", "deploy.py")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "has the newest packages already." in run.stdout + run.stderr
    assert box.sh("ls /opt/conda/releases/python3; readlink /opt/conda/envs/python3") == there


def test_a_release_whose_kernel_does_not_start_is_not_switched_to(box: Operator) -> None:
    link = box.sh("readlink /opt/conda/envs/python3")
    settings = box.settings()
    # What the kernel is started with breaks it: no Python comes up without its codecs.
    settings["environments"][0]["variables"] = {"PYTHONHOME": "/nowhere"}
    settings["environments"][0]["conda"].append("six=1.16.0")
    run = box.pyinfra("-y", "deploy.py", settings=settings)
    assert run.returncode != 0
    assert "environment python3: its kernel python3 does not start: " in run.stdout + run.stderr
    assert box.sh("readlink /opt/conda/envs/python3") == link
    assert box.changed() == []
