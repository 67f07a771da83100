"""The program that keeps an archive: whole, read back, for its owner alone, or not at all."""

from __future__ import annotations

import fcntl
import json
import shutil
import stat
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from jupyterbox.program import program
from operations import backup
from tests.unit.archives import packed, run, unpacked

NAME = "hub-20261123T220000Z.tar.gz"
DEBRIS = backup.archive("hub", False, datetime(2026, 11, 23, 22, tzinfo=timezone.utc))["debris"]
HOMES = {"ada": {"home": "/home/ada", "size": 1, "notes": ["./x: Permission denied"]}}
needs_gpg = pytest.mark.skipif(not shutil.which("gpg"), reason="gpg encrypts")


def arguments(directory: Path, **more: Any) -> dict[str, Any]:
    """What the program is told."""
    given = {"directory": str(directory), "name": NAME, "debris": DEBRIS, "make": True}
    return {**given, "progress": False, "passphrase": None, **more}


def keep(directory: Path, content: bytes, passphrase: Path | None = None, **more: Any) -> Any:
    """Keep something."""
    if passphrase is None:
        return run("keep_archive", content, **arguments(directory, **more))
    with passphrase.open("rb") as file:
        fd = file.fileno()
        return run("keep_archive", content, fd=fd, **arguments(directory, passphrase=fd, **more))


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    """A file with a passphrase."""
    path = tmp_path / "passphrase"
    path.write_text("correct horse battery staple\nand what else somebody noted\n")
    return path


def test_an_archive_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    whole = packed(homes=HOMES)
    kept = keep(tmp_path / "new/backups", whole)
    path = tmp_path / "new/backups" / NAME
    assert json.loads(kept.stdout) == {
        "path": str(path),
        "size": path.stat().st_size,
        "notes": ["/home/ada: ./x: Permission denied"],
        "failed": [],
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is damaged (empty file)"),
        (packed()[:-9], "is damaged (Compressed file ended before the end-of-stream marker"),
        (b"sudo: a password is required\n", "is damaged (Not a gzipped file"),
    ],
)
def test_what_is_not_whole_is_not_kept(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / NAME).write_text("of yesterday")
    kept = keep(tmp_path, content)
    assert kept.returncode == 1
    assert kept.stderr.decode().startswith(f"What came of the backup {says}")
    assert kept.stderr.decode().endswith(": nothing is kept.\n")
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_text() == "of yesterday"


def test_what_a_run_that_was_killed_has_left_is_removed(tmp_path: Path) -> None:
    others = {".db-20261123T210000Z.tar.gz.part", "notes.txt", "hub-20261122T210000Z.tar.gz"}
    for name in {".hub-20261123T210000Z.tar.gz.part", ".hub-20261123T210000Z.tar.gz.gpg.part"}:
        (tmp_path / name).write_text("half")
    for name in others:
        (tmp_path / name).write_text("somebody's")
    assert keep(tmp_path, packed()).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == others | {NAME}


def test_what_somebody_still_writes_to_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / ".hub-2-20261123T210000Z.tar.gz.part"
    other.write_text("of the box hub-2")
    running = tmp_path / ".hub-20261123T215959Z.tar.gz.part"
    with running.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert keep(tmp_path, packed()).returncode == 0
        assert running.exists()
    assert other.exists()
    (tmp_path / NAME).unlink()
    assert keep(tmp_path, packed()).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {NAME, other.name}


def test_two_in_the_same_second_do_not_spoil_each_other(tmp_path: Path) -> None:
    part = tmp_path / f".{NAME}.part"
    with part.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        kept = keep(tmp_path, packed())
    assert (kept.returncode, part.exists()) == (1, True)
    assert "File exists" in kept.stderr.decode()


def test_what_a_backup_lacks_is_told(tmp_path: Path) -> None:
    lacks: dict[str, Any] = {
        "notes": ["x is a link to 'y'"],
        "failed": ["/home/bob did not answer"],
    }
    kept = json.loads(keep(tmp_path, packed(homes=HOMES, **lacks)).stdout)
    assert kept["notes"] == ["x is a link to 'y'", "/home/ada: ./x: Permission denied"]
    assert kept["failed"] == ["/home/bob did not answer"]


def test_nobody_can_read_it_while_it_comes(tmp_path: Path) -> None:
    _, *options, source, asked = program("keep_archive", **arguments(tmp_path)).bits
    process = subprocess.Popen(
        [sys.executable, *options, source.obj, asked.obj], stdin=subprocess.PIPE
    )
    assert process.stdin
    try:
        deadline = time.monotonic() + 60
        while not (found := list(tmp_path.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert [path.name for path in found] == [f".{NAME}.part"]
        assert stat.S_IMODE(found[0].stat().st_mode) == 0o600
    finally:
        process.kill()
        process.stdin.close()
        process.wait()


def test_a_directory_that_shall_be_there_is_not_made(tmp_path: Path) -> None:
    kept = keep(tmp_path / "mnt", packed(), make=False)
    assert kept.returncode == 1
    assert kept.stderr.decode().startswith("Nothing is kept: ")
    assert "No such file or directory" in kept.stderr.decode()
    assert not (tmp_path / "mnt").exists()


@needs_gpg
def test_an_encrypted_one_opens_with_its_passphrase(tmp_path: Path, passphrase: Path) -> None:
    assert keep(tmp_path / "b", packed(), passphrase).returncode == 0
    path = tmp_path / "b" / NAME
    assert b"SQLite" not in path.read_bytes()
    with passphrase.open("rb") as file:
        told: dict[str, Any] = {"path": str(path), "passphrase": file.fileno()}
        opened = run("open_archive", fd=file.fileno(), plain=True, **told)
    assert opened.returncode == 0, opened.stderr
    assert unpacked(opened.stdout) == unpacked(packed())


@needs_gpg
def test_no_agent_of_gpg_stays(tmp_path: Path, passphrase: Path) -> None:
    assert keep(tmp_path, packed(), passphrase).returncode == 0
    agents = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "jupyterbox-gpg-" not in agents


@needs_gpg
def test_half_a_backup_is_not_encrypted_and_kept(tmp_path: Path, passphrase: Path) -> None:
    kept = keep(tmp_path / "b", packed()[:-9], passphrase)
    assert kept.returncode == 1
    assert b"is damaged" in kept.stderr
    assert list((tmp_path / "b").iterdir()) == []


def test_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\nsecond line\n")
    kept = keep(tmp_path / "b", packed(), empty)
    assert kept.stderr.decode() == "Nothing is kept: The passphrase is empty.\n"


def test_without_gpg_nothing_is_encrypted(tmp_path: Path, passphrase: Path) -> None:
    with passphrase.open("rb") as file:
        fd = file.fileno()
        told = arguments(tmp_path / "b", passphrase=fd)
        kept = run("keep_archive", packed(), fd=fd, env={"PATH": str(tmp_path)}, **told)
    assert kept.stderr.decode() == ("Nothing is kept: There is no gpg here: apt-get install gpg.\n")
    assert list((tmp_path / "b").iterdir()) == []
