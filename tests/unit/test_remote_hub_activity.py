"""The program that says who uses the hub, on a database made by JupyterHub's own schema."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine import recorded, state_of
from tests.unit.remote import call, module

hub_activity = module("hub_activity")
hub_database = module("hub_database")
cgroups = module("cgroups")

SHELL = os.path.realpath("/bin/sh")
DEMO = "jupyter-demo-singleuser.service"
GROUP = f"/system.slice/{DEMO}"
# What a recording leaves out, and columns that hold secrets.
SECRETS = {
    "users": {
        "cookie_id": "secret-cookie-id",
        "state": '{"secret": "secret-auth-state"}',
        "encrypted_auth_state": "secret-auth-blob",
        "user_info": "secret-user-info",
    },
    "servers": {"cookie_name": "secret-cookie-name"},
    "spawners": {
        "user_options": '{"token": "secret-option"}',
        "state": f'{{"unit_name": "{DEMO}", "api_token": "secret-spawner-token"}}',
    },
    "roles": {"scopes": "secret-scopes"},
}


class Hub:
    """A hub's database, a systemctl that knows its servers, and their control groups."""

    def __init__(self, folder: Path, database: bytes) -> None:
        self.folder, self.database = folder, folder / "hub 100%?.sqlite"
        self.cgroups = folder / "cgroups"
        self.database.write_bytes(database)
        self.systemctl(recorded("hub/systemctl-servers"))

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.database, isolation_level=None)

    def insert(self, table: str, **row: Any) -> None:
        with self.connect() as database:
            insert(database, table, row)

    def update(self, statement: str, *values: Any) -> None:
        with self.connect() as database:
            database.execute(statement, values)

    def systemctl(self, says: str) -> None:
        """Have `systemctl show` say so, whichever units it is asked for."""
        program = self.folder / "systemctl"
        (self.folder / "said").write_text(says)
        program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$@" > {self.folder}/asked\ncat {self.folder}/said\n'
        )
        program.chmod(0o755)

    def group(self, path: str, **files: Any) -> None:
        """Make a control group; `cpu_stat` stands for cpu.stat."""
        directory = Path(f"{self.cgroups}{path}")
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (directory / name.replace("_", ".", 1)).write_text(f"{content}\n")

    @property
    def activity(self) -> dict[str, Any]:
        """What the program answers."""
        found: dict[str, Any] = hub_activity.activity(
            str(self.database), "jupyter-*-singleuser.service", str(self.cgroups)
        )
        return found

    @property
    def server(self) -> dict[str, Any]:
        [found] = self.activity["servers"]
        return dict(found)


def insert(database: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    """Add a row to a table."""
    names, marks = ", ".join(row), ", ".join("?" for _ in row)
    database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [*row.values()])


@pytest.fixture(scope="session")
def recorded_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The recorded database, with secrets wherever it has some."""
    path, recording = tmp_path_factory.mktemp("hub") / "hub.sqlite", state_of("hub/database")
    token = {"id": 1, "user_id": 1, "hashed": "secret-hash", "prefix": "secret-prefix"}
    rows = {
        "api_tokens": [{**token, "note": "secret-note"}],
        "oauth_clients": [{"id": 1, "identifier": "secret-client", "secret": "secret-secret"}],
        "oauth_codes": [{"id": 1, "code": "secret-code", "session_id": "secret-session"}],
    }
    with sqlite3.connect(path) as database:
        for table in recording["schema"]:
            database.execute(table)
        for table, found in {**recording["rows"], **rows}.items():
            for row in found:
                insert(database, table, {**row, **SECRETS.get(table, {})})
    return path.read_bytes()


@pytest.fixture
def hub(tmp_path: Path, recorded_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(hub_activity, "SAMPLE", 0.01)
    return Hub(tmp_path, recorded_database)


@pytest.fixture
def start() -> Iterator[Callable[..., int]]:
    """Start a process that is called so, as one of a user's."""
    processes = []

    def started(*called: str) -> int:
        program, *arguments = called
        waiting = [program, "-c", "read line", *arguments]
        process = subprocess.Popen(waiting, executable=SHELL, stdin=subprocess.PIPE)
        processes.append(process)
        return process.pid

    yield started
    for process in processes:
        process.communicate()


# --- users and servers ---


def test_users_and_servers_as_the_hub_knows_them(hub: Hub) -> None:
    found = hub.activity
    [spawner] = state_of("hub/database")["rows"]["spawners"]
    [user] = state_of("hub/database")["rows"]["users"]
    # To the second, in UTC.
    then = {"demo": f"{user['last_activity'][:19].replace(' ', 'T')}+00:00"}
    assert found["users"] == {"demo": {"admin": True, "last_activity": then["demo"]}}
    assert found["unreadable"] is None
    [server] = found["servers"]
    assert (server["user"], server["name"], server["unit"]) == ("demo", "", DEMO)
    assert (server["known"], server["state"]) == (True, "active (running)")
    assert server["last_activity"] == f"{spawner['last_activity'][:19].replace(' ', 'T')}+00:00"
    assert re.fullmatch(r"2026-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", server["since"])
    asked = (hub.folder / "asked").read_text().split()
    assert asked[-2:] == ["jupyter-*-singleuser.service", DEMO]


def test_an_admin_is_who_has_the_role(hub: Hub) -> None:
    hub.insert("users", id=2, name="ada", admin=1, cookie_id="2")
    hub.insert("users", id=3, name="bob", admin=0, cookie_id="3")
    hub.insert("groups", id=1, name="lab")
    hub.insert("user_group_map", user_id=3, group_id=1)
    hub.insert("group_role_map", group_id=1, role_id=4, managed_by_auth=0)
    admins = {name: user["admin"] for name, user in hub.activity["users"].items()}
    # The column outlives the role.
    assert admins == {"demo": True, "ada": False, "bob": True}


def test_who_has_no_server_has_none(hub: Hub) -> None:
    hub.update("UPDATE spawners SET server_id = NULL")
    hub.systemctl("")
    assert hub.activity["servers"] == []


def test_a_unit_that_the_hub_does_not_know_is_told(hub: Hub) -> None:
    hub.update("UPDATE spawners SET server_id = NULL")
    stray = recorded("hub/systemctl-servers").replace("jupyter-demo", "jupyter-eve")
    hub.systemctl(f"{recorded('hub/systemctl-servers')}\n{stray}")
    found = hub.activity["servers"]
    # Whose it is, the hub may remember; else its name says so.
    assert [(server["user"], server["known"]) for server in found] == [
        ("demo", False),
        ("eve", False),
    ]


def test_a_server_without_its_unit_is_told(hub: Hub) -> None:
    hub.systemctl(
        recorded("hub/systemctl-servers").replace("-nobody-", "-demo-", 1).split("\n\n")[0]
    )
    hub.update("UPDATE spawners SET started = '2026-11-02 16:49:15.617471'")
    server = hub.server
    assert server["since"] == "2026-11-02T16:49:15+00:00"
    assert (server["known"], server["state"], server["memory_mb"]) == (True, "not-found", None)
    now = datetime.now(timezone.utc) - timedelta(seconds=2)
    hub.update("UPDATE spawners SET started = ?", str(now.replace(tzinfo=None)))
    # The hub notes it before it is there.
    assert hub.server["state"] == "starting"


def test_a_named_server_and_a_unit_of_another_template(hub: Hub) -> None:
    hub.insert(
        "spawners", id=2, user_id=1, server_id=1, name="gpu", state='{"unit_name": "lab-x/y"}'
    )
    found = {server["unit"]: server["name"] for server in hub.activity["servers"]}
    assert found == {DEMO: "", "lab-x-y.service": "gpu"}


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        # As systemd-run 257 made them.
        ("jupyter-ada b-singleuser", r"jupyter-ada\x20b-singleuser.service"),
        ("jupyter-Ünï-singleuser", r"jupyter-\xc3\x9cn\xc3\xaf-singleuser.service"),
        ("jupyter-a/b-singleuser", "jupyter-a-b-singleuser.service"),
        ("jupyter-a@x.org-singleuser", "jupyter-a@x.org-singleuser.service"),
        (r"jupyter-a\x2db-singleuser", r"jupyter-a\x2db-singleuser.service"),
        (
            "jupyter-a*b+c%d~e,f-singleuser",
            r"jupyter-a\x2ab\x2bc\x25d\x7ee\x2cf-singleuser.service",
        ),
        ("jupyter-x.service", "jupyter-x.service"),
    ],
)
def test_a_unit_is_called_what_systemd_makes_of_its_name(name: str, unit: str) -> None:
    assert hub_database.mangled(name) == unit


# --- the database ---


def test_no_secret_comes_out(hub: Hub) -> None:
    hub.group(GROUP, cgroup_procs="", cpu_stat="usage_usec 1")
    assert "secret" not in json.dumps(hub.activity)
    with hub.connect() as database:
        planted = "\n".join(database.iterdump())
    for secret in (
        "cookie-id",
        "auth-state",
        "auth-blob",
        "spawner-token",
        "option",
        "hash",
        "code",
    ):
        assert f"secret-{secret}" in planted


def test_a_hub_that_writes_is_not_waited_for(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_database, "PATIENCE", 0.01)
    writer = hub.connect()
    writer.execute("BEGIN EXCLUSIVE")
    found = hub.activity
    writer.close()
    assert found["unreadable"] == "cannot be read: database is locked"
    # What runs is told all the same; whether the hub knows it, nobody can say.
    assert [(s["user"], s["known"]) for s in found["servers"]] == [("demo", None)]
    assert hub.activity["unreadable"] is None


def test_nothing_is_held_when_it_has_answered(hub: Hub) -> None:
    before = hub.database.read_bytes()
    assert hub.activity["unreadable"] is None
    assert hub.database.read_bytes() == before
    assert sorted(path.name for path in hub.folder.glob("*.sqlite*")) == [hub.database.name]
    with sqlite3.connect(hub.database, timeout=0, isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")


def no_file(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Put something else in the place of a file."""

    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "is not there"),
        (lambda path: path.write_bytes(b""), "no such table"),
        (lambda path: path.write_bytes(b"hello world" * 99), "not a database"),
        (lambda path: path.write_bytes(path.read_bytes()[:9000]), "malformed"),
        (no_file(Path.mkdir), "is not a regular file"),
        (no_file(os.mkfifo), "is not a regular file"),
    ],
)
def test_a_damaged_database_is_named(
    hub: Hub, damage: Callable[[Path], object], reason: str
) -> None:
    damage(hub.database)
    found = hub.activity
    assert reason in found["unreadable"]
    assert found["users"] == {}
    assert [server["known"] for server in found["servers"]] == [None]


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | TEXT | st.binary()


@given(values=st.lists(VALUES, min_size=6, max_size=6))
def test_any_values_are_read(
    values: list[Any], recorded_database: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.sqlite"
    path.write_bytes(recorded_database)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("UPDATE users SET name = ?, last_activity = ?", values[:2])
        columns = ("name", "started", "last_activity", "state")
        changes = ", ".join(f"{column} = ?" for column in columns)
        database.execute(f"UPDATE spawners SET {changes}", values[2:])
    users, [server] = hub_database.people(str(path))
    assert len(users) == 1
    assert server["unit"].endswith(".service")
    json.dumps([users, server])


@given(value=VALUES)
def test_a_state_that_is_none_names_no_unit(value: Any) -> None:
    assert hub_database.unit_name(value, "ada").endswith(".service")


# --- what they use ---


def test_version_2_control_groups(hub: Hub) -> None:
    hub.group(
        GROUP,
        memory_current=300 << 20,
        memory_peak=400 << 20,
        cpu_stat="usage_usec 2975473\nuser_usec 2511950",
        cgroup_procs="",
    )
    used = hub.server
    assert (used["memory_mb"], used["peak_mb"], used["memory_from"]) == (300, 400, "memory.current")
    assert (used["cpu_seconds"], used["cpu_from"]) == (2.98, "cpu.stat")
    assert used["cpu_percent"] == 0.0


def test_version_1_control_groups(hub: Hub) -> None:
    hub.group(
        f"/memory{GROUP}",
        **{"memory_usage_in_bytes": 300 << 20, "memory_max_usage_in_bytes": 400 << 20},
    )
    hub.group(f"/cpu,cpuacct{GROUP}", cpuacct_usage=1_500_000_000)
    hub.group(f"/systemd{GROUP}", cgroup_procs=f"{os.getpid()}")
    used = hub.server
    assert (used["memory_mb"], used["peak_mb"]) == (300, 400)
    assert used["memory_from"] == "memory.usage_in_bytes"
    assert (used["cpu_seconds"], used["cpu_from"]) == (1.5, "cpuacct.usage")
    assert used["processes"] == 1


def test_processes_tell_where_control_groups_keep_no_account(hub: Hub) -> None:
    hub.group(GROUP, cgroup_procs=f"{os.getpid()}\n999999999")
    used = hub.server
    assert (used["memory_from"], used["cpu_from"]) == ("processes", "processes")
    status = Path("/proc/self/status").read_text()
    resident = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) >> 10
    assert 0 < used["memory_mb"] <= resident
    assert used["peak_mb"] is None
    assert used["cpu_seconds"] > 0
    assert used["processes"] == 2


def test_cpu_time_is_of_one_core() -> None:
    spent = hub_activity.spent
    used = {"cpu_seconds": 10.4, "cpu_percent": 200.0, "cpu_from": "cpu.stat"}
    assert spent((100.0, 10.0, "cpu.stat"), (100.2, 10.4, "cpu.stat")) == used
    # It ended while it was looked at.
    used = {"cpu_seconds": 10.0, "cpu_percent": 0.0, "cpu_from": "cpu.stat"}
    assert spent((100.0, 10.0, "cpu.stat"), (100.2, 0.0, "processes")) == used


def test_kernels_are_told_by_their_connection_files(hub: Hub, start: Callable[..., int]) -> None:
    def kernel(program: str, name: str) -> int:
        return start(program, "-f", f"/home/ada/runtime/kernel-{name}.json")

    pids = [
        start("/opt/hub/bin/python", "/opt/hub/bin/jupyterhub-singleuser"),
        kernel("/opt/conda/releases/python3/5d0c/bin/python", "1"),
        # A process that it has forked is called as it is.
        kernel("/opt/conda/releases/python3/5d0c/bin/python", "1"),
        kernel("/home/ada/.conda/envs/tf2/bin/python", "2"),
        kernel("/opt/conda/envs/r/lib/R/bin/exec/R", "3"),
        kernel("sh", "4"),
        start("/bin/cat", "/home/ada/kernel.json"),
    ]
    hub.group(GROUP, cgroup_procs="\n".join(map(str, pids)))
    assert hub.server["kernels"] == sorted(
        [
            "/home/ada/.conda/envs/tf2",
            "/opt/conda/envs/r",
            "/opt/conda/releases/python3/5d0c",
            SHELL.rpartition("/bin/")[0],
        ]
    )
    assert hub.server["processes"] == len(pids)


# --- who may ask ---


def ask(as_user: int | None = None, **places: str) -> subprocess.CompletedProcess[str]:
    """Run the program with the command that a box is sent."""
    arguments: dict[str, Any] = {"root": "/nowhere/hub", "state_dir": "/nowhere/state"}
    arguments |= {"database": "/nowhere/state/hub.sqlite", "cgroups": "/nowhere/cgroups"}
    arguments |= {"units": "jupyter-nowhere-*.service", **places}
    return call("hub_activity", as_user=as_user, **arguments)


def test_a_bare_box_has_nobody() -> None:
    done = ask()
    assert done.stderr == ""
    assert json.loads(done.stdout) == {"users": {}, "servers": [], "unreadable": None}
    assert json.loads(done.stdout) == state_of("hub/activity-bare")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_is_roots_is_not_half_told_to_others() -> None:
    assert ask(65534).returncode == 0
    done = ask(65534, root="/usr")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Who uses the hub can only be read by root: run this fact with _sudo=true.\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="it is root's to ask")
def test_the_program_as_a_box_is_sent_it(hub: Hub) -> None:
    done = ask(root=str(hub.folder), database=str(hub.database))
    assert done.stderr == ""
    assert list(json.loads(done.stdout)["users"]) == ["demo"]
