"""What the programs that build a release share."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.remote import module

release = module("release")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "releases/x/aaa"


def test_a_release_is_complete_when_its_record_is_there(prefix: Path) -> None:
    prefix.mkdir(parents=True)
    (prefix / "open").touch()
    (prefix / "open").chmod(0o666)
    release.record(str(prefix), {"id": "aaa"})
    document = json.loads((prefix / "release.json").read_text())
    assert document.pop("built").endswith("+00:00")
    assert document == {"id": "aaa"}
    assert sorted(path.name for path in prefix.iterdir()) == ["open", "release.json"]
    assert (prefix / "open").stat().st_mode & 0o777 == 0o644


def test_what_is_a_link_is_not_followed(prefix: Path, tmp_path: Path) -> None:
    prefix.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    elsewhere.chmod(0o666)
    (prefix / "link").symlink_to(elsewhere)
    release.close(prefix)
    assert elsewhere.stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (release.Failure("it is wrong"), "the thing: it is wrong."),
        (release.Failure("it is wrong."), "the thing: it is wrong."),
        (
            OSError(28, "No space left on device", "/x/y"),
            "the thing: /x/y: No space left on device.",
        ),
        (OSError(28, "No space left on device"), "the thing: {prefix}: No space left on device."),
    ],
)
def test_a_failure_is_a_sentence_and_leaves_nothing(
    prefix: Path, error: Exception, sentence: str
) -> None:
    def fill() -> None:
        prefix.mkdir()
        (prefix / "half").touch()
        raise error

    before = os.umask(0o022)
    try:
        with pytest.raises(SystemExit) as caught:
            release.build("the thing", str(prefix), fill)
    finally:
        os.umask(before)
    assert caught.value.code == sentence.format(prefix=prefix)
    assert not prefix.exists()


PROGRAM = """
import sys
sys.path.insert(0, {programs!r})
import release
def fill():
    print("building", flush=True)
    release.run(["sleep", "60"], "sleeping")
release.build("the thing", {prefix!r}, fill)
"""


def test_a_second_builder_waits_for_what_a_killed_one_left_running(prefix: Path) -> None:
    programs = str(Path(release.__file__).parent)
    source = PROGRAM.format(programs=programs, prefix=str(prefix))
    builder = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert builder.stdout
    assert [builder.stdout.readline() for _ in range(2)] == ["building\n", "the thing: sleeping\n"]
    lock = prefix.with_name(".aaa.lock")
    [sleeping] = children(builder.pid)
    builder.kill()
    builder.wait()
    builder.stdout.close()
    try:
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(sleeping, signal.SIGKILL)
    with lock.open() as file:
        # It is free once the one that was left is gone.
        fcntl.flock(file, fcntl.LOCK_EX)


def children(pid: int) -> list[int]:
    """The processes that a process has started, once it has started one."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    while not (found := path.read_text().split()):
        time.sleep(0.01)
    return [int(child) for child in found]


def test_a_command_that_fails_says_how(tmp_path: Path) -> None:
    code, out, err = release.run(
        ["sh", "-c", "echo out; echo $A >&2; exit 3"], "trying", {"A": "b"}
    )
    assert (code, out, err) == (3, "out\n", "b\n")
