"""The program that restores: accounts, homes, the hub's state; last the database, at one stroke."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.unit.archives import ADA, GROUPS, packed, run, unpacked

COMMANDS = ("useradd", "usermod", "groupadd", "chpasswd", "chage", "mkhomedir_helper", "systemctl")
COMMAND = """\
#!/bin/sh
echo "${0##*/} $*" >>@/log
[ "${0##*/}" != chpasswd ] || cat >>@/log
if [ "${0##*/}" = systemctl ]; then exit @STATUS; fi
"""


def database(path: Path, *users: str) -> bytes:
    """A database with some users."""
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE users (name)")
        made.executemany("INSERT INTO users VALUES (?)", [(user,) for user in users])
        made.commit()
    return path.read_bytes()


class Hub:
    """A tree to restore to, with commands that only note what they are told."""

    def __init__(self, path: Path) -> None:
        self.path, self.state, self.log = path, path / "state", path / "log"
        self.arguments: dict[str, Any] = {
            "state_dir": f"{path}/state",
            "database": f"{path}/state/hub.sqlite",
            "secrets": [f"{path}/state/cookie_secret", f"{path}/state/proxy.env"],
            "configuration": [f"{path}/opt/config.py", f"{path}/opt/own.d"],
            "drop_ins": [f"{path}/etc/jupyterhub.service.d", f"{path}/etc/p.service.d"],
            "unit": "jupyterhub.service",
        }
        (path / "bin").mkdir()
        self.set_commands(hub_runs=False)

    def set_commands(self, hub_runs: bool) -> None:
        text = COMMAND.replace("@STATUS", "0" if hub_runs else "3").replace("@", str(self.path))
        for name in COMMANDS:
            (self.path / "bin" / name).write_text(text)
            (self.path / "bin" / name).chmod(0o755)

    def restore(self, archive: bytes, manifest: Any = None, **env: str) -> Any:
        """Restore an archive."""
        line = json.dumps(manifest or unpacked(archive)[1]).encode() + b"\n"
        env = {"PATH": f"{self.path}/bin:{os.environ['PATH']}", **env}
        return run("restore", line + archive, env=env, **self.arguments)

    def did(self) -> list[str]:
        """What the system was told."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    """A bare one."""
    return Hub(tmp_path)


@pytest.fixture
def members(tmp_path: Path) -> dict[str, bytes]:
    """What an archive has, but for accounts."""
    return {
        "hub/database": database(tmp_path / "made", "ada"),
        "hub/cookie_secret": b"cookie",
        "hub/proxy.env": b"proxy",
        "configuration/config.py": b"rendered",
        "configuration/own.d/10.py": b"own",
        "configuration/own.d/data/x.json": b"{}",
        "drop-ins/jupyterhub.service.d/limits.conf": b"[Service]",
        "locks/hub/release.json": b"{}",
    }


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def tree(path: Path) -> dict[str, bytes]:
    """The files below a directory."""
    files = [found for found in path.rglob("*") if found.is_file()]
    return {str(found.relative_to(path)): found.read_bytes() for found in files}


def test_a_bare_box_gets_everything(hub: Hub, members: dict[str, bytes]) -> None:
    done = hub.restore(packed(members, users=[], groups=[]))
    assert done.returncode == 0, done.stderr
    assert tree(hub.state) == {
        "hub.sqlite": members["hub/database"],
        "cookie_secret": b"cookie",
        "proxy.env": b"proxy",
    }
    assert mode(hub.state) == 0o700
    assert {mode(path) for path in hub.state.iterdir()} == {0o600}
    # The rendered one is the deploy's, from the settings of today.
    assert tree(hub.path / "opt") == {"own.d/10.py": b"own", "own.d/data/x.json": b"{}"}
    assert mode(hub.path / "opt/own.d") == 0o700
    # What is there on the way is for everybody to go through.
    assert mode(hub.path / "opt") == mode(hub.path / "etc") == 0o755
    assert mode(hub.path / "etc/jupyterhub.service.d") == 0o755
    assert tree(hub.path / "etc") == {"jupyterhub.service.d/limits.conf": b"[Service]"}


def test_an_account_is_made_as_it_was(hub: Hub, members: dict[str, bytes], tmp_path: Path) -> None:
    ada = {**ADA, "name": "ada-of-jupyterbox", "group": "ada-of-jupyterbox"}
    ada["home"] = f"{tmp_path}/home"
    groups = [
        {"name": "ada-of-jupyterbox", "gid": 64123, "members": []},
        {"name": "lab-of-jupyterbox", "gid": 64124, "members": ["ada-of-jupyterbox"]},
        {"name": "docker-of-jupyterbox", "gid": 0, "members": []},
    ]
    done = hub.restore(packed(members, users=[ada], groups=groups))
    assert done.returncode == 0, done.stderr
    assert hub.did()[:-1] == [
        "groupadd --gid 64123 ada-of-jupyterbox",
        "groupadd --gid 64124 lab-of-jupyterbox",
        # Its gid is another's here.
        "groupadd --system docker-of-jupyterbox",
        "useradd --uid 1001 --gid ada-of-jupyterbox --no-user-group --shell /bin/bash "
        f"--home-dir {tmp_path}/home --no-create-home --comment Ada, London ada-of-jupyterbox",
        "usermod --append --groups lab-of-jupyterbox ada-of-jupyterbox",
        "chpasswd --encrypted",
        "ada-of-jupyterbox:$y$j9T$geheim",
        "chage --lastday 20000 --mindays 0 --maxdays 99999 --warndays 7 --inactive -1 "
        "--expiredate -1 ada-of-jupyterbox",
        "mkhomedir_helper ada-of-jupyterbox 0077",
    ]


def test_who_runs_it_keeps_password_and_home(
    hub: Hub, members: dict[str, bytes], tmp_path: Path
) -> None:
    ops = {**ADA, "name": "ops", "home": f"{tmp_path}/ops"}
    members = {**members, "homes/ops/00000000": b"whatever"}
    homes = {"ops": {"home": ops["home"], "size": 8, "notes": []}}
    done = hub.restore(packed(members, users=[ops], groups=[], homes=homes), SUDO_USER="ops")
    assert done.returncode == 0, done.stderr
    assert not any(line.startswith(("chpasswd", "chage")) for line in hub.did())
    assert not list(tmp_path.glob("ops/*"))


def test_a_command_that_fails_is_said_and_the_next_run_goes_on(
    hub: Hub, members: dict[str, bytes]
) -> None:
    groups = [{"name": "lab-of-jupyterbox", "gid": 64124, "members": []}]
    archive = packed(members, users=[], groups=groups)
    (hub.path / "bin/groupadd").write_text("#!/bin/sh\necho first\necho no room >&2\nexit 1\n")
    done = hub.restore(archive)
    assert (done.returncode, done.stderr.decode()) == (
        1,
        "The restore did not come to its end: groupadd --gid 64124 lab-of-jupyterbox: no room\n",
    )
    assert list(hub.state.iterdir()) == []
    hub.set_commands(hub_runs=False)
    assert hub.restore(archive).returncode == 0


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_half_an_archive_changes_no_hub(hub: Hub, members: dict[str, bytes], part: float) -> None:
    archive = packed(members, users=[], groups=[])
    done = hub.restore(archive[: int(len(archive) * part)], unpacked(archive)[1])
    assert done.returncode == 1
    assert done.stderr.decode().startswith("The restore did not come to its end: the archive is ")
    assert list(hub.state.iterdir()) == []
    assert not (hub.path / "opt").exists()


def test_another_archive_than_the_one_that_was_checked_is_refused(
    hub: Hub, members: dict[str, bytes]
) -> None:
    checked = unpacked(packed(members, users=[], groups=[]))[1]
    other = packed({**members, "hub/cookie_secret": b"known to me"}, users=[], groups=[])
    done = hub.restore(other, checked)
    assert done.stderr.decode() == (
        "The restore did not come to its end: the archive has changed on its way: "
        "'hub/cookie_secret' is not what the manifest says.\n"
    )
    assert list(hub.state.iterdir()) == []


def test_a_second_restore_changes_nothing_of_the_hub(hub: Hub, members: dict[str, bytes]) -> None:
    archive = packed(members, users=[], groups=[])
    hub.restore(archive)
    before = (hub.state / "hub.sqlite").stat().st_ino
    hub.set_commands(hub_runs=True)
    assert hub.restore(archive).returncode == 0
    assert (hub.state / "hub.sqlite").stat().st_ino == before
    assert "systemctl stop jupyterhub.service" not in hub.did()


def test_a_hub_that_runs_is_stopped_and_its_database_kept(
    hub: Hub, members: dict[str, bytes]
) -> None:
    hub.state.mkdir()
    database(hub.state / "hub.sqlite", "zoe")
    for name in ("hub.sqlite-journal", "hub.sqlite.for-3a94aa"):
        (hub.state / name).write_text("of the other database")
    hub.set_commands(hub_runs=True)
    assert hub.restore(packed(members, users=[], groups=[])).returncode == 0
    assert hub.did() == [
        "systemctl --quiet is-active jupyterhub.service",
        "systemctl stop jupyterhub.service",
        "systemctl start jupyterhub.service",
    ]
    found = tree(hub.state)
    assert found["hub.sqlite"] == members["hub/database"]
    with closing(sqlite3.connect(hub.state / "hub.sqlite.before-restore")) as kept:
        assert kept.execute("SELECT name FROM users").fetchall() == [("zoe",)]
    assert mode(hub.state / "hub.sqlite.before-restore") == 0o600
    assert sorted(found) == [
        "cookie_secret",
        "hub.sqlite",
        "hub.sqlite.before-restore",
        "proxy.env",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="homes are unpacked as their owners")
def test_a_home_cannot_write_to_where_its_owner_cannot(
    hub: Hub, members: dict[str, bytes], tmp_path: Path
) -> None:
    for directory in [*tmp_path.parents, tmp_path]:
        directory.chmod(directory.stat().st_mode | 0o005)
    # A tar that follows its own link to where only root may write.
    target, source = tmp_path / "roots", tmp_path / "source"
    target.mkdir(mode=0o755)
    (source / "x").mkdir(parents=True)
    (source / "x/evil").write_text("evil")
    (source / "notes").write_text("mine")
    first, second = tmp_path / "1.tar", tmp_path / "2.tar"
    os.system(f"cd {source} && tar --owner 1001 --group 1001 -cf {second} notes x/evil")
    shutil.rmtree(source / "x")
    (source / "x").symlink_to(target)
    os.system(f"cd {source} && tar --owner 1001 --group 1001 -cf {first} x")
    os.system(f"tar -Af {first} {second}")
    ada = {**ADA, "home": f"{tmp_path}/home"}
    members = {**members, "homes/ada/00000000": first.read_bytes()}
    homes = {"ada": {"home": ada["home"], "size": 1, "notes": []}}
    (hub.path / "bin/mkhomedir_helper").write_text("#!/bin/sh\n")
    done = hub.restore(packed(members, users=[ada], groups=GROUPS, homes=homes))
    assert done.returncode == 0, done.stderr
    assert list(target.iterdir()) == []
    assert (tmp_path / "home/notes").read_text() == "mine"
    found = (tmp_path / "home/notes").stat()
    assert (found.st_uid, found.st_gid) == (1001, 1001)
