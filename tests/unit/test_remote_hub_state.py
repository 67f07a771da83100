"""The program that reads the hub, with a systemctl that says what a real one did."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine import recorded
from tests.unit.remote import answered, module

hub_state = module("hub_state")


class Hub:
    """A hub's directories, and a systemctl for its one unit."""

    def __init__(self, folder: Path) -> None:
        self.root, self.secrets = folder / "hub", folder / "state"
        self.bin = folder / "bin"
        for directory in (self.root, self.secrets, self.bin):
            directory.mkdir()
        self.unit_file = folder / "jupyterhub.service"
        self.drop_ins = folder / "jupyterhub.service.d"
        self.systemctl(recorded("hub/systemctl-absent"))

    def systemctl(self, says: str) -> None:
        """Have `systemctl show` say so; asked for anything else, it fails."""
        (self.bin / "said").write_text(says)
        program = self.bin / "systemctl"
        program.write_text(
            "#!/bin/sh\n"
            '[ "$1" = show ] && [ "$4" = jupyterhub.service ] || exit 1\n'
            f"cat {self.bin}/said\n"
        )
        program.chmod(0o755)

    def runs_as(self, pid: int) -> None:
        """Have it say that the unit is active, with this main process."""
        said = recorded("hub/systemctl-active")
        self.systemctl(re.sub(r"MainPID=\d+", f"MainPID={pid}", said))

    def release(self, identity: str, record: str = '{"proxy": "p1"}') -> Path:
        prefix = self.root / "releases" / identity
        prefix.mkdir(parents=True)
        (prefix / "release.json").write_text(record)
        return prefix

    @property
    def state(self) -> dict[str, Any]:
        """What the program answers."""
        found: dict[str, Any] = answered(
            "hub_state",
            env={"PATH": f"{self.bin}:{os.environ['PATH']}"},
            root=str(self.root),
            state_dir=str(self.secrets),
            reads={"jupyterhub.service": [str(self.unit_file), str(self.drop_ins)]},
        )
        return found

    @property
    def unit(self) -> dict[str, Any]:
        found: dict[str, Any] = self.state["units"]["jupyterhub.service"]
        return found


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


@pytest.fixture
def start() -> Iterator[Callable[[], int]]:
    """Start a process that stands for the hub's; what is written then is newer than it."""
    processes = []

    def started() -> int:
        process = subprocess.Popen(["sleep", "600"])
        processes.append(process)
        began = hub_state.started_at(process.pid)
        while time.time() < began + 0.1:
            time.sleep(0.01)
        return process.pid

    yield started
    for process in processes:
        process.kill()
        process.wait()


NOTHING: dict[str, Any] = {
    "exists": False,
    "enabled": False,
    "active": False,
    "reload": False,
    "runs_from": None,
    "newer": [],
}


def test_a_bare_box(hub: Hub) -> None:
    assert hub.state == {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "current": None,
        "releases": {},
        "secrets": [],
        "units": {"jupyterhub.service": NOTHING},
        "files": {str(hub.unit_file): None, str(hub.drop_ins): None},
    }


def test_a_box_without_systemd(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub.bin / "systemctl").unlink()
    monkeypatch.setenv("PATH", str(hub.bin))
    assert hub.unit == NOTHING


# --- releases ---


def test_releases_are_those_with_a_record(hub: Hub) -> None:
    hub.release("aaa")
    hub.release("bbb", "{}")
    hub.release("ccc", "half a JSON {")
    hub.release("ddd", "[]")
    (hub.root / "releases/eee").mkdir()
    (hub.root / "current").symlink_to("releases/bbb")
    state = hub.state
    assert state["releases"] == {"aaa": {"proxy": "p1"}, "bbb": {"proxy": None}}
    assert state["current"] == "bbb"


def test_the_recorded_release_is_read(hub: Hub) -> None:
    hub.release("aaa", recorded("hub/release"))
    assert hub.state["releases"] == {"aaa": {"proxy": "0e0eabbbc369"}}


def test_a_current_that_is_no_link_is_none(hub: Hub) -> None:
    (hub.root / "current").mkdir()
    assert hub.state["current"] is None


# --- secrets ---


def test_a_secret_that_others_may_read_is_none(hub: Hub) -> None:
    for name in ("proxy.env", "cookie_secret", "something"):
        (hub.secrets / name).touch(0o600)
    assert hub.state["secrets"] == ["proxy.env", "cookie_secret"]
    for mode in (0o640, 0o604, 0o601, 0o620):
        (hub.secrets / "proxy.env").chmod(mode)
        assert hub.state["secrets"] == ["cookie_secret"]


# --- units ---


def test_a_unit_as_systemctl_shows_it(hub: Hub, start: Callable[[], int]) -> None:
    hub.runs_as(start())
    assert hub.unit == {
        "exists": True,
        "enabled": True,
        "active": True,
        "reload": False,
        "runs_from": None,
        "newer": [],
    }
    hub.systemctl(recorded("hub/systemctl-stopped"))
    assert hub.unit == {**NOTHING, "exists": True, "enabled": True, "reload": True}


def test_a_changed_unit_file_wants_a_reload(hub: Hub) -> None:
    hub.systemctl(recorded("hub/systemctl-reload"))
    assert hub.unit["reload"] is True


def test_what_is_newer_than_the_process_was_not_read(hub: Hub, start: Callable[[], int]) -> None:
    hub.unit_file.touch()
    hub.drop_ins.mkdir()
    hub.runs_as(start())
    assert hub.unit["newer"] == []

    # Its time of change is brought along from elsewhere.
    (hub.drop_ins / "mine.conf").touch()
    os.utime(hub.drop_ins / "mine.conf", (1_000, 1_000))
    assert hub.unit["newer"] == [str(hub.drop_ins)]

    hub.unit_file.write_text("[Unit]")
    assert hub.unit["newer"] == [str(hub.unit_file), str(hub.drop_ins)]

    hub.runs_as(start())
    assert hub.unit["newer"] == []


def test_a_link_is_as_new_as_itself(hub: Hub, start: Callable[[], int], tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    hub.runs_as(start())
    hub.unit_file.symlink_to(tmp_path / "old")
    assert hub.unit["newer"] == [str(hub.unit_file)]


def test_what_does_not_run_has_nothing_unread(hub: Hub) -> None:
    hub.unit_file.touch()
    hub.systemctl(recorded("hub/systemctl-stopped"))
    assert hub.unit["newer"] == []


def test_a_process_is_known_by_its_start(start: Callable[[], int]) -> None:
    before = time.time()
    started = hub_state.started_at(start())
    # To a hundredth of a second, rounded down.
    assert before - 0.02 < started < time.time()
    assert hub_state.started_at(0) is None


def test_a_process_runs_from_the_release_of_its_program(hub: Hub) -> None:
    program = hub.release("aaa") / "bin/node"
    program.parent.mkdir()
    program.write_bytes(Path("/bin/sleep").resolve().read_bytes())
    program.chmod(0o755)
    process = subprocess.Popen([program, "600"])
    try:
        hub.runs_as(process.pid)
        assert hub.unit["runs_from"] == "aaa"
    finally:
        process.kill()
        process.wait()


# --- files ---


def test_files_are_known_by_what_is_in_them(hub: Hub) -> None:
    hub.unit_file.write_text("[Unit]\n")
    hub.drop_ins.mkdir()
    assert hub.state["files"] == {
        str(hub.unit_file): hashlib.sha256(b"[Unit]\n").hexdigest(),
        str(hub.drop_ins): None,
    }
