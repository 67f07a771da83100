"""The build: packages, index and installer into one directory that is complete or not there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from . import condapkg, debian_python, installer, metapackages, recipe, repodata, wheels
from .common import step
from .recipe import CHANNEL, HERE, Machine

_KEEP = 5


class Built(TypedDict):
    """What a build says of itself: the last line that `build` prints."""

    dir: str
    installer: str
    sha256: str
    channel: str
    python: str


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Let one build run at a time: the second then finds the work done."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _reusable(cache: Path, packages_key: str) -> Path | None:
    """A finished channel with the very same packages, whose installer alone is out of date."""
    for note in cache.glob("*/built.json"):
        if json.loads(note.read_text()).get("packages") == packages_key:
            return note.parent
    return None


def _channel(work: Path, target: Path, machine: Machine) -> None:
    """Make every package of the channel and its index."""
    with step("python from Debian's packages"):
        python, _ = debian_python.build(work / "python", machine)
    with step("wheels"):
        made = [python, *metapackages.metapackages(machine)]
        for group in ("channel", "older"):
            wheels.fetch(HERE / f"{group}.txt", work / group, machine)
            made += wheels.packages(work / group, machine)
    with step(f"{len(made)} packages"):
        records: dict[str, dict[str, dict[str, Any]]] = {"noarch": {}, machine.conda: {}}
        for package in made:
            # One in the older format: conda channels mix both.
            older = (package.name, package.version) == ("six", "1.16.0")
            kind: Any = "tar.bz2" if older else "conda"
            file = condapkg.write(package, target / package.subdir, kind)
            records[package.subdir][file.name] = package.index()
        for subdir, index in records.items():
            repodata.write(target / subdir, index)


def _prune(cache: Path) -> None:
    """Forget all but the newest few results."""
    notes = sorted(cache.glob("*/built.json"), key=lambda note: note.stat().st_mtime)
    for note in notes[:-_KEEP]:
        shutil.rmtree(note.parent)


def build(cache: Path) -> Built:
    """Build what is missing.

    Args:
        cache: holds a directory per state of the recipe.

    Returns:
        Where the channel and the installer are.

    Raises:
        ChannelError: something that the build needs is missing or failed.
    """
    machine = recipe.this_machine()
    target = cache.absolute() / recipe.key(machine)
    note = target / "built.json"
    if not note.exists():
        with _alone(cache):
            if not note.exists():
                _build(cache.absolute(), target, machine)
    os.utime(note)
    stored = json.loads(note.read_text())
    return Built(
        dir=str(target),
        installer=stored["installer"],
        sha256=stored["sha256"],
        channel=CHANNEL,
        python=recipe.PYTHON_MINOR,
    )


def _build(cache: Path, target: Path, machine: Machine) -> None:
    for debris in cache.glob(".build-*"):
        shutil.rmtree(debris)
    packages_key = recipe.packages_key(machine)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=cache) as folder:
        work, result = Path(folder), Path(folder) / "result"
        finished = _reusable(cache, packages_key)
        if finished:
            # Packages never change once made, so sharing their inodes is safe.
            shutil.copytree(finished / CHANNEL, result / CHANNEL, copy_function=os.link)
        else:
            _channel(work, result / CHANNEL, machine)
        with step("installer"):
            script = installer.build(work / "base", result, machine)
        note = {
            "installer": str(script.relative_to(result)),
            "sha256": _sha256(script),
            "packages": packages_key,
        }
        (result / "built.json").write_text(json.dumps(note, indent=1))
        # Last and at once: a directory under this name is a complete one.
        result.rename(target)
    _prune(cache)
