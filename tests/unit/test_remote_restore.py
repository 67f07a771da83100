"""The program that restores: accounts, homes, the hub's state; last the database, at one stroke."""

from __future__ import annotations

import grp
import io
import json
import os
import pwd
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jupyterbox.program import PROGRAMS, program, source
from tests.unit.archives import ADA, GROUPS, packed, run, unpacked
from tests.unit.remote import module

SAY, LAST = "echo >&2", "echo >&2 tar: Exiting with failure status due to previous errors"

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
            "journal": f"{path}/state/journal",
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
        "journal": f"file {hub.path}/etc/jupyterhub.service.d/limits.conf\n".encode(),
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
    assert (hub.state / "journal").read_text().splitlines()[:4] == [
        "group ada-of-jupyterbox",
        "group lab-of-jupyterbox",
        "group docker-of-jupyterbox",
        "account ada-of-jupyterbox",
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
    assert [path.name for path in hub.state.iterdir()] == ["journal"]
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
        "hub.sqlite.before-restore-journal",
        "journal",
        "proxy.env",
    ]


def in_use(hub: Hub, *users: str) -> None:
    """Have a hub run there with a database."""
    hub.state.mkdir(exist_ok=True)
    (hub.state / "hub.sqlite").unlink(missing_ok=True)
    database(hub.state / "hub.sqlite", *users)
    hub.set_commands(hub_runs=True)


def test_every_database_that_was_replaced_is_kept(hub: Hub, members: dict[str, bytes]) -> None:
    archive = packed(members, users=[], groups=[])
    for users in ("zoe",), ("yan", "xue"):
        in_use(hub, *users)
        done = hub.restore(archive)
        assert done.returncode == 0, done.stderr
    kept = f"{hub.state}/hub.sqlite.before-restore-2"
    assert f"the database that was here is kept as {kept}\n" in done.stdout.decode()
    for name, expected in ("", ["zoe"]), ("-2", ["xue", "yan"]):
        with closing(sqlite3.connect(f"{hub.state}/hub.sqlite.before-restore{name}")) as found:
            rows = found.execute("SELECT name FROM users ORDER BY name").fetchall()
        assert [row for (row,) in rows] == expected


def test_a_database_that_cannot_be_read_is_kept_with_its_journals(
    hub: Hub, members: dict[str, bytes]
) -> None:
    in_use(hub)
    content = {"": b"not one", "-wal": b"its log", "-journal": b"its journal"}
    for ending, text in content.items():
        (hub.state / f"hub.sqlite{ending}").write_bytes(text)
    done = hub.restore(packed(members, users=[], groups=[]))
    assert done.returncode == 0, done.stderr
    found = tree(hub.state)
    assert found["hub.sqlite"] == members["hub/database"]
    for ending, text in content.items():
        assert found[f"hub.sqlite.before-restore{ending}"] == text
    assert not {"hub.sqlite-wal", "hub.sqlite-journal"} & set(found)


def test_a_log_that_a_hub_has_left_is_of_the_database_that_is_kept(
    hub: Hub, members: dict[str, bytes]
) -> None:
    in_use(hub)
    with closing(sqlite3.connect(hub.state / "hub.sqlite", isolation_level=None)) as used:
        used.execute("PRAGMA journal_mode=WAL")
        used.execute("INSERT INTO users VALUES ('only in the log')")
        # As if the hub had been killed: nothing has come from the log into the database.
        names = ("hub.sqlite", "hub.sqlite-wal")
        dead = {name: (hub.state / name).read_bytes() for name in names}
    for name, content in dead.items():
        (hub.state / name).write_bytes(content)
    assert hub.restore(packed(members, users=[], groups=[])).returncode == 0
    with closing(sqlite3.connect(hub.state / "hub.sqlite.before-restore")) as kept:
        assert kept.execute("SELECT name FROM users").fetchall() == [("only in the log",)]


def test_a_hub_that_was_stopped_runs_again_whatever_happens(
    hub: Hub, members: dict[str, bytes]
) -> None:
    in_use(hub, "zoe")
    (hub.path / "bin/systemctl").write_text(
        f"#!/bin/sh\necho $1 >>{hub.log}\n[ $1 != stop ] || mkdir -p {hub.state}/hub.sqlite-wal/x\n"
    )
    before = (hub.state / "hub.sqlite").read_bytes()
    done = hub.restore(packed(members, users=[], groups=[]))
    assert done.returncode == 1
    assert done.stderr.decode().startswith("The restore did not come to its end: ")
    assert hub.did() == ["--quiet", "stop", "start"]
    assert not list(hub.state.glob("hub.sqlite.before-restore*"))
    assert (hub.state / "hub.sqlite").read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted by root")
def test_a_database_needs_room_for_itself_alone(hub: Hub, members: dict[str, bytes]) -> None:
    in_use(hub, "zoe")
    members["hub/database"] += os.urandom(3 << 19)
    done = on_a_small_disk(hub, hub.state, packed(members, users=[], groups=[]))
    assert done.returncode == 0, done.stderr
    assert hub.did()[-2:] == [
        "systemctl stop jupyterhub.service",
        "systemctl start jupyterhub.service",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted by root")
def test_a_full_disk_stops_no_hub_and_leaves_nothing(hub: Hub, members: dict[str, bytes]) -> None:
    in_use(hub, "zoe")
    members["hub/database"] += os.urandom(3 << 20)
    archive = packed(members, users=[], groups=[])
    done = on_a_small_disk(hub, hub.state, archive)
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"left: cookie_secret" not in done.stdout
    assert "systemctl stop jupyterhub.service" not in hub.did()
    assert done.stdout.decode().endswith("left: hub.sqlite\n")


ON_A_SMALL_DISK = """
cp -a "$0" "$0.copy" && mount -t tmpfs -o size=2m,mode=755 none "$0" || exit 77
cp -a "$0.copy/." "$0"
"$@"
status=$?
for file in $(ls -A "$0"); do echo "left: $file"; done
exit $status
"""


def on_a_small_disk(hub: Hub, directory: Path, archive: bytes) -> Any:
    """Restore where a directory is on a disk of 2 MB."""
    line = json.dumps(unpacked(archive)[1]).encode() + b"\n"
    _, *options, text, asked = program("restore", **hub.arguments).bits
    command = [sys.executable, *options, text.obj, asked.obj]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", ON_A_SMALL_DISK, str(directory), *command],
        input=line + archive,
        capture_output=True,
        env={"PATH": f"{hub.path}/bin:{os.environ['PATH']}"},
        timeout=120,
    )
    if done.returncode == 77 or b"unshare" in done.stderr:
        pytest.skip("nothing can be mounted here")
    return done


def home_of_ada(tmp_path: Path, **files: bytes) -> tuple[dict[str, Any], dict[str, bytes], Any]:
    """An account, a home in an archive, and what its manifest says of it."""
    for directory in [*tmp_path.parents, tmp_path]:
        if os.geteuid() == 0:
            directory.chmod(directory.stat().st_mode | 0o005)
    packed_home = io.BytesIO()
    with tarfile.open(fileobj=packed_home, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.uid, info.gid = len(content), os.getuid() or 1001, os.getgid() or 1001
            tar.addfile(info, io.BytesIO(content))
    home = tmp_path / "homes/ada"
    home.parent.mkdir()
    ada = {**ADA, "uid": os.getuid() or 1001, "home": str(home)}
    taken = {"ada": {"home": str(home), "size": 1, "notes": []}}
    return ada, {"homes/ada/00000000": packed_home.getvalue()}, taken


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted by root")
def test_a_home_that_does_not_fit_costs_nobody_the_hub(
    hub: Hub, members: dict[str, bytes], tmp_path: Path
) -> None:
    ada, unpacked_to, homes = home_of_ada(tmp_path, small=b"x", large=os.urandom(3 << 20))
    (hub.path / "bin/mkhomedir_helper").write_text("#!/bin/sh\n")
    archive = packed({**members, **unpacked_to}, users=[ada], groups=GROUPS, homes=homes)
    done = on_a_small_disk(hub, tmp_path / "homes", archive)
    assert done.returncode == 1
    said = done.stderr.decode()
    assert said.startswith("The hub is restored, and not all of the homes:\n")
    assert f"{ada['home']}: ./large: " in said and "small" not in said
    assert (hub.state / "hub.sqlite").read_bytes() == members["hub/database"]


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("/bin/cat >/dev/null; kill -KILL $$", "tar was ended by SIGKILL"),
        ("/bin/cat >/dev/null; exit 2", "tar ended with status 2"),
        (
            f"/bin/cat >/dev/null; {SAY} 'tar: x: Cannot open: Quota exceeded'; {LAST}; exit 2",
            "x:",
        ),
        (f"/bin/cat >/dev/null; {SAY} 'tar: x: Cannot utime: Not permitted'; exit 2", "x:"),
        (f"/bin/cat >/dev/null; {SAY} 'tar: x: Cannot utime: Not permitted'; {LAST}; exit 2", None),
    ],
)
def test_a_home_that_is_lost_is_told_when_the_hub_is_back(
    hub: Hub, members: dict[str, bytes], tmp_path: Path, does: str, says: str | None
) -> None:
    """What tar says, and how it ends, is synthetic here."""
    ada, unpacked_to, homes = home_of_ada(tmp_path, notes=b"x")
    (hub.path / "bin/mkhomedir_helper").write_text("#!/bin/sh\n")
    tar = tmp_path / "fake/tar"
    tar.parent.mkdir()
    tar.write_text(f"#!/bin/sh\n{does}\n")
    tar.chmod(0o755)
    archive = packed({**members, **unpacked_to}, users=[ada], groups=GROUPS, homes=homes)
    itself = (PROGRAMS / "restore.py").read_text()
    text = source("restore").removesuffix(itself) + f"os.defpath = '{tar.parent}'\n" + itself
    text = "import os\n" + text
    done = subprocess.run(
        [sys.executable, "-I", "-c", text, json.dumps(hub.arguments)],
        input=json.dumps(unpacked(archive)[1]).encode() + b"\n" + archive,
        capture_output=True,
        env={"PATH": f"{hub.path}/bin:{os.environ['PATH']}"},
        timeout=120,
    )
    assert (hub.state / "hub.sqlite").read_bytes() == members["hub/database"]
    if says is None:
        assert done.returncode == 0, done.stderr
        assert f"not as it was: {ada['home']}: x: Cannot utime" in done.stdout.decode()
        return
    head, line = done.stderr.decode().splitlines()
    assert (done.returncode, head) == (1, "The hub is restored, and not all of the homes:")
    assert line.startswith(f"{ada['home']}: {says}")


def test_a_home_that_is_somebody_elses_is_left_alone_and_told(
    hub: Hub, members: dict[str, bytes], tmp_path: Path
) -> None:
    ada, unpacked_to, homes = home_of_ada(tmp_path, notes=b"x")
    Path(ada["home"]).write_text("a file")
    archive = packed({**members, **unpacked_to}, users=[ada], groups=GROUPS, homes=homes)
    done = hub.restore(archive)
    assert done.stderr.decode() == (
        f"The hub is restored, and not all of the homes:\n{ada['home']}: it is not ada's\n"
    )
    assert Path(ada["home"]).read_text() == "a file"


def test_a_home_that_does_not_answer_is_not_made_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = module("make_accounts")
    gone: Any = ({}, {"ada": "/home/ada did not answer within 2 s"})
    monkeypatch.setattr(accounts, "look_into", lambda homes, question: gone)
    monkeypatch.setattr(accounts, "run", None)
    assert accounts.make_home(ADA) == ["/home/ada did not answer within 2 s"]


def test_accounts_and_groups_that_shared_an_id_share_it_again(
    hub: Hub, members: dict[str, bytes], tmp_path: Path
) -> None:
    one = {**ADA, "name": "one-of-jupyterbox", "group": "a-of-jupyterbox"}
    one |= {"home": f"{tmp_path}/one", "uid": 64001, "gid": 64123}
    two = {**one, "name": "two-of-jupyterbox", "group": "b-of-jupyterbox"}
    groups = [{"name": f"{g}-of-jupyterbox", "gid": 64123, "members": []} for g in "ab"]
    done = hub.restore(packed(members, users=[one, two], groups=groups))
    assert done.returncode == 0, done.stderr
    made = [line.partition(" --no-user-group")[0] for line in hub.did() if "add --" in line]
    assert made == [
        "groupadd --gid 64123 a-of-jupyterbox",
        "groupadd --gid 64123 --non-unique b-of-jupyterbox",
        "useradd --uid 64001 --gid a-of-jupyterbox",
        "useradd --uid 64001 --non-unique --gid b-of-jupyterbox",
    ]


def test_a_group_of_the_system_is_known_by_its_name() -> None:
    accounts = module("make_accounts")
    [group] = [found for found in grp.getgrall() if found.gr_name == "mail"]
    there = accounts.as_here({**ADA, "name": "nobody-of-that-name", "group": "mail", "gid": 999})
    assert there["gid"] == group.gr_gid
    [root] = [found for found in pwd.getpwall() if found.pw_name == "root"]
    assert accounts.as_here({**ADA, "name": "root", "gid": 999})["gid"] == root.pw_gid
    assert accounts.as_here({**ADA, "group": "no-group-of-jupyterbox"})["gid"] == ADA["gid"]


@pytest.mark.skipif(os.geteuid() != 0, reason="homes are unpacked as their owners")
def test_a_home_gets_the_group_that_its_owner_has_here(
    hub: Hub, members: dict[str, bytes], tmp_path: Path
) -> None:
    ada, unpacked_to, homes = home_of_ada(tmp_path, notes=b"x")
    here = pwd.getpwnam("mail")
    mail = {**ada, "name": "mail", "uid": here.pw_uid, "gid": here.pw_gid + 1, "group": "mail"}
    unpacked_to = {"homes/mail/00000000": unpacked_to["homes/ada/00000000"]}
    (hub.path / "bin/mkhomedir_helper").write_text("#!/bin/sh\n")
    homes = {"mail": homes["ada"]}
    done = hub.restore(packed({**members, **unpacked_to}, users=[mail], groups=[], homes=homes))
    assert done.returncode == 0, done.stderr
    for path in (Path(mail["home"]), Path(mail["home"]) / "notes"):
        assert (path.stat().st_uid, path.stat().st_gid) == (here.pw_uid, here.pw_gid)


def test_an_account_that_was_here_with_another_home_is_told(
    hub: Hub, members: dict[str, bytes]
) -> None:
    me = pwd.getpwuid(os.getuid())
    user = {**ADA, "name": me.pw_name, "home": "/home/elsewhere-of-jupyterbox"}
    done = hub.restore(packed(members, users=[user], groups=[]), SUDO_USER=me.pw_name)
    assert done.returncode == 0, done.stderr
    assert (
        f"not as it was: account {me.pw_name} has its home in {me.pw_dir} here, and in "
        "/home/elsewhere-of-jupyterbox in the backup\n"
    ) in done.stdout.decode()


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
    assert done.stderr.decode().startswith("The hub is restored, and not all of the homes:\n")
    assert "x/evil: Cannot open: Not a directory" in done.stderr.decode()
    assert list(target.iterdir()) == []
    assert (tmp_path / "home/notes").read_text() == "mine"
    found = (tmp_path / "home/notes").stat()
    assert (found.st_uid, found.st_gid) == (1001, 1001)
