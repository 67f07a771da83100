"""Conda environments on disk, made of what real conda was recorded to have installed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.unit.engine import RECORDED

CHANNEL = "http://127.0.0.1:8123/channel"
SITE = "lib/python3.11/site-packages"


def stdout(recording: str) -> Any:
    """What a recorded conda printed, as JSON."""
    text = (RECORDED / f"conda/{recording}.txt").read_text()
    out = text.partition("# ---- stdout")[2].partition("\n")[2].partition("\n# ---- stderr")[0]
    return json.loads(out)


CREATED: list[dict[str, Any]] = stdout("10-create-json")["actions"]["FETCH"]
"""The records of the packages that conda installed into the recorded environment python3."""

CREATION = (
    (RECORDED / "conda/62-history-python3.txt").read_text().split("==> 2026-11-23 12:14:12")[0]
)
"""What conda wrote into its history then."""


def make_prefix(path: Path, names: Iterable[str] | None = None, history: str = CREATION) -> Path:
    """The recorded environment, or some of its packages.

    Args:
        path: where it shall lie.
        names: of the packages; all, if none are named.
        history: the content of conda-meta/history.
    """
    (path / "conda-meta").mkdir(parents=True)
    (path / "bin").mkdir()
    (path / "bin/python").touch()
    (path / SITE).mkdir(parents=True)
    (path / "conda-meta/history").write_text(history)
    for record in CREATED:
        if names is None or record["name"] in names:
            install(path, record)
    return path


def install(prefix: Path, record: dict[str, Any]) -> None:
    """Link a package as conda does: its record, and the mark of a Python package."""
    name, version = record["name"], record["version"]
    files = record.get("files", [])
    if record.get("noarch") == "python":
        mark = f"{SITE}/{name.replace('-', '_')}-{version}.dist-info"
        (prefix / mark).mkdir()
        (prefix / mark / "RECORD").touch()
        (prefix / mark / "INSTALLER").write_text("conda\n")
        files = [*files, f"{mark}/RECORD", f"{mark}/INSTALLER"]
    record_of(prefix, record).write_text(json.dumps({**record, "files": files}, indent=2))


def record_of(prefix: Path, record: dict[str, Any]) -> Path:
    """Where a package's record lies."""
    stem = f"{record['name']}-{record['version']}-{record['build']}"
    return prefix / f"conda-meta/{stem}.json"


def remove(prefix: Path, name: str) -> dict[str, Any]:
    """Unlink a conda package, and return its record."""
    [path] = prefix.glob(f"conda-meta/{name}-[0-9]*.json")
    record: dict[str, Any] = json.loads(path.read_text())
    path.unlink()
    pip_remove(prefix, name, missing=True)
    return record


def pip_install(prefix: Path, name: str, version: str) -> None:
    """Install a Python package as pip does."""
    mark = prefix / f"{SITE}/{name}-{version}.dist-info"
    mark.mkdir()
    (mark / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")
    (mark / "INSTALLER").write_text("pip\n")
    (mark / "RECORD").touch()


def pip_remove(prefix: Path, name: str, missing: bool = False) -> None:
    """Remove a Python package as pip does."""
    marks = list((prefix / SITE).glob(f"{name.replace('-', '_')}-[0-9]*.dist-info"))
    assert marks or missing
    for mark in marks:
        for file in mark.iterdir():
            file.unlink()
        mark.rmdir()


def age(path: Path, seconds: float = 60) -> None:
    """Make everything below a path that much older, by its mtime."""
    for entry in [path, *path.rglob("*")]:
        if not entry.is_symlink():
            found = entry.stat()
            os.utime(entry, (found.st_atime - seconds, found.st_mtime - seconds))
