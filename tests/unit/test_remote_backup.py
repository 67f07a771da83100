"""The program that prints a backup: everything that a hub is, at one moment, and nothing else."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from jupyterbox.archives import People
from jupyterbox.program import PROGRAMS, program, source
from tests.unit.archives import ABOUT, run, unpacked
from tests.unit.remote import module

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1::/usr/sbin:/usr/sbin/nologin
jupyter:x:900:900::/srv:/bin/sh
ada:x:{uid}:1001:Ada,,,:{home}:/bin/zsh
bob:x:1002:100::/nowhere:/bin/bash
jupyterbox-verify:x:1003:1003::/x:/bin/sh
nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin
+::::::
half a line
"""
GROUP = """\
root:x:0:
users:x:100:
docker:x:998:ada,daemon
lab:x:2000:bob,ghost
ada:x:1001:
nogroup:x:65534:
"""
SAY, LAST = "echo >&2", "echo >&2 tar: Exiting with failure status due to previous errors"
SHADOW = "root:$6$root:1:0:9:7:::\nada:$y$ada:20000:0:90:7:3:21000:\nbob:!:20000::::::\n"


@pytest.fixture
def hub(tmp_path: Path) -> dict[str, Any]:
    """A hub in a tree, as the program's arguments."""
    for name in (
        "etc",
        "state",
        "opt/etc/own.d/__pycache__",
        "opt/current",
        "home",
        "conda/envs/a",
    ):
        (tmp_path / name).mkdir(parents=True)
    home = str(tmp_path / "home")
    (tmp_path / "etc/passwd").write_text(PASSWD.format(uid=os.getuid() or 1001, home=home))
    (tmp_path / "etc/group").write_text(GROUP)
    (tmp_path / "etc/shadow").write_text(SHADOW)
    (tmp_path / "state/cookie_secret").write_text("cookie")
    (tmp_path / "state/proxy.env").write_text("proxy")
    (tmp_path / "opt/etc/config.py").write_text("c = 1")
    (tmp_path / "opt/etc/own.d/10-own.py").write_text("c.own = 1")
    (tmp_path / "opt/etc/own.d/link.py").symlink_to("/etc/shadow")
    (tmp_path / "opt/etc/own.d/__pycache__/x.pyc").write_text("no")
    (tmp_path / "conda/envs/a/release.json").write_text('{"packages": []}')
    with closing(sqlite3.connect(tmp_path / "state/hub.sqlite")) as database:
        database.execute("CREATE TABLE users (name)")
        database.execute("INSERT INTO users VALUES ('ada')")
        database.commit()
    return {
        "state_dir": f"{tmp_path}/state",
        "database": f"{tmp_path}/state/hub.sqlite",
        "secrets": [f"{tmp_path}/state/cookie_secret", f"{tmp_path}/state/proxy.env"],
        "configuration": [f"{tmp_path}/opt/etc/config.py", f"{tmp_path}/opt/etc/own.d"],
        "drop_ins": [f"{tmp_path}/jupyterhub.service.d"],
        "root": f"{tmp_path}/opt",
        "conda_root": f"{tmp_path}/conda",
        "etc": f"{tmp_path}/etc",
        "accounts": ["jupyter"],
        "minimum_uid": 1000,
        "without": ["jupyterbox-verify"],
        "homes": False,
        "about": {key: ABOUT[key] for key in ("by", "host")},
    }


def backup(hub: dict[str, Any], **changes: Any) -> tuple[dict[str, bytes], Any]:
    """What a backup holds."""
    done = run("backup", **{**hub, **changes})
    assert done.returncode == 0, done.stderr
    return unpacked(done.stdout)


def test_a_backup_holds_the_hub(hub: dict[str, Any]) -> None:
    members, manifest = backup(hub)
    assert list(members) == [
        "accounts.json",
        "hub/database",
        "hub/cookie_secret",
        "hub/proxy.env",
        "configuration/config.py",
        "configuration/own.d/10-own.py",
        "locks/environments/a.json",
    ]
    assert members["hub/proxy.env"] == b"proxy"
    assert manifest["host"] == "hub.example.org"
    assert manifest["homes"] is None


def test_accounts_are_those_of_people_and_of_settings(hub: dict[str, Any]) -> None:
    members, _ = backup(hub)
    accounts = json.loads(members["accounts.json"])
    assert [user["name"] for user in accounts["users"]] == ["jupyter", "ada", "bob"]
    jupyter, ada, bob = accounts["users"]
    assert ada["password"] == "$y$ada"
    assert ada["aging"] == ["20000", "0", "90", "7", "3", "21000"]
    assert (ada["group"], ada["comment"], ada["shell"]) == ("ada", "Ada,,,", "/bin/zsh")
    assert (bob["password"], bob["group"]) == ("!", "users")
    # It has neither a line in shadow nor a group.
    assert (jupyter["password"], jupyter["group"]) == ("!", "jupyter")
    assert accounts["groups"] == [
        {"name": "users", "gid": 100, "members": []},
        {"name": "docker", "gid": 998, "members": ["ada"]},
        {"name": "lab", "gid": 2000, "members": ["bob"]},
        {"name": "ada", "gid": 1001, "members": []},
        {"name": "jupyter", "gid": 900, "members": []},
    ]
    assert "$6$root" not in members["accounts.json"].decode()


def test_the_database_is_taken_while_somebody_writes(hub: dict[str, Any], tmp_path: Path) -> None:
    with closing(sqlite3.connect(hub["database"], isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("INSERT INTO users VALUES ('bob')")
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO users VALUES ('not yet')")
        members, _ = backup(hub)
        database.execute("ROLLBACK")
    (tmp_path / "copy").write_bytes(members["hub/database"])
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert copy.execute("SELECT name FROM users").fetchall() == [("ada",), ("bob",)]


def test_nothing_stays_on_the_box_and_nothing_is_made_there(hub: dict[str, Any]) -> None:
    state = Path(hub["state_dir"])
    before = sorted(path.name for path in state.iterdir())
    (state / ".backup").mkdir()
    (state / ".backup/database").write_text("of a run that was killed")
    backup(hub)
    assert sorted(path.name for path in state.iterdir()) == before
    done = run("backup", **{**hub, "database": f"{state}/other"})
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"The hub's database {state}/other cannot be read: unable to open database file.\n"
    )
    assert sorted(path.name for path in state.iterdir()) == before


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to look", b"SQLite format 3\0"]
)
def test_a_damaged_database_is_no_backup(hub: dict[str, Any], content: bytes) -> None:
    Path(hub["database"]).write_bytes(content * 100)
    done = run("backup", **hub)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"The hub's database {hub['database']} ")
    assert done.stderr.decode().count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="homes are packed as their owners")
def test_homes_are_packed_as_their_owners(hub: dict[str, Any], tmp_path: Path) -> None:
    home = tmp_path / "home"
    for directory in [*tmp_path.parents, tmp_path]:
        if directory.stat().st_mode & 0o005 != 0o005:
            directory.chmod(directory.stat().st_mode | 0o005)
    (home / "notes").write_text("mine")
    (home / "link").symlink_to("/etc/shadow")
    (home / "roots").write_text("root's alone")
    (home / "roots").chmod(0o600)
    for name in (".", "notes"):
        os.chown(home / name, 1001, 1001)
    members, manifest = backup(hub, homes=True)
    assert [name for name in members if name.startswith("homes/")] == ["homes/ada/00000000"]
    with tarfile.open(fileobj=BytesIO(members["homes/ada/00000000"])) as tar:
        assert sorted(tar.getnames()) == [".", "./link", "./notes"]
        assert tar.getmember("./link").issym()
    assert manifest["homes"] == {
        "ada": {
            "home": str(home),
            "size": len(members["homes/ada/00000000"]),
            "notes": ["./roots: Cannot open: Permission denied"],
        }
    }


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("bob:x:1002:100::/nowhere:", "bob:x:1002:100:::"),
        ("bob:x:1002:100::/nowhere:", "bob:x:1002:100::/home/../bob:"),
        ("bob:x:1002:100:", "bob:x:1002:2001:"),
        ("bob:x:1002:", "bob:x:9999999999:"),
        ("bob:x:1002:", "ada:x:1002:"),
        ("bob:x:", "b b:x:"),
        ("bob:!:20000:", "bob:!:soon:"),
    ],
)
def test_what_no_restore_could_make_is_left_out_and_named(
    hub: dict[str, Any], changed: str, says: str
) -> None:
    etc = Path(hub["etc"])
    (etc / "group").write_text(GROUP + "lab users:x:2001:ada\n")
    for name in ("passwd", "shadow"):
        (etc / name).write_text((etc / name).read_text().replace(changed, says))
    members, manifest = backup(hub)
    accounts = json.loads(members["accounts.json"])
    assert [user["name"] for user in accounts["users"]] == ["jupyter", "ada"]
    assert "lab users" not in members["accounts.json"].decode()
    People.model_validate(accounts)
    account, group, _ = manifest["notes"]
    assert account.startswith(("account bob: ", "account ada: is there twice", "account 'b b': "))
    assert group.startswith("group 'lab users': ")


def test_a_comment_in_another_encoding_keeps_nobody_out(hub: dict[str, Any]) -> None:
    path = Path(hub["etc"]) / "passwd"
    path.write_bytes(path.read_bytes().replace(b"Ada,,,", b"Ad\xe4,,,"))
    members, manifest = backup(hub)
    accounts = People.model_validate(json.loads(members["accounts.json"]))
    assert [user.comment for user in accounts.users if user.name == "ada"] == ["Ad\ufffd,,,"]
    assert not any("ada" in note for note in manifest["notes"])


def test_a_file_whose_name_no_archive_takes_is_named(hub: dict[str, Any]) -> None:
    own = Path(hub["configuration"][1])
    (own / "link.py").unlink()
    long = own / ("d" * 160) / ("f" * 160)
    long.parent.mkdir()
    long.write_text("x")
    Path(os.fsdecode(os.fsencode(own) + b"/\xe4.py")).write_text("x")
    members, manifest = backup(hub)
    assert "configuration/own.d/10-own.py" in members
    assert sorted(manifest["notes"]) == sorted(
        [
            f"{long} cannot be in an archive (name is too long)",
            f"{own}/\ufffd.py has a name that is not UTF-8",
        ]
    )


def test_links_in_the_configuration_are_named(hub: dict[str, Any]) -> None:
    own = Path(hub["configuration"][1])
    (own / "elsewhere").symlink_to("/srv")
    members, manifest = backup(hub)
    assert not any("link" in name or "elsewhere" in name for name in members)
    assert manifest["notes"] == [
        f"{own}/elsewhere is a link to '/srv'",
        f"{own}/link.py is a link to '/etc/shadow'",
    ]


HOMES = """
def look_into(homes, question):
    [(name, *_, home)] = homes
    if name == "ada":
        return {}, {"ada": f"{home} did not answer within 2 s"}
    return {name: question(home)}, {}
"""


def test_a_home_whose_server_is_gone_keeps_no_other_from_being_taken(
    hub: dict[str, Any], tmp_path: Path
) -> None:
    done = with_tar(hub, tmp_path, 'exec /usr/bin/tar "$@"', HOMES)
    assert done.returncode == 0, done.stderr
    _, manifest = unpacked(done.stdout)
    assert set(manifest["homes"]) == {"bob"}
    assert manifest["failed"] == [f"{tmp_path}/home did not answer within 2 s"]


@pytest.mark.parametrize(
    ("does", "note", "failed"),
    [
        ("kill -KILL $$", "tar was ended by SIGKILL", True),
        ("exit 64", "tar ended with status 64", True),
        ("exit 2", "tar ended with status 2", True),
        (f"{SAY} 'tar: ./x: Read error: Input/output error'; {LAST}; exit 2", "./x: Read", True),
        (f"{SAY} 'tar: ./x: Cannot open: Permission denied'; exit 2", "./x: Cannot open", True),
        (f"{SAY} 'tar: ./x: Cannot open: Permission denied'; {LAST}; exit 2", "./x: C", False),
        (f"{SAY} 'tar: ./x: file changed as we read it'; exit 1", "", False),
    ],
)
def test_a_tar_that_comes_to_a_bad_end_is_told(
    hub: dict[str, Any], tmp_path: Path, does: str, note: str, failed: bool
) -> None:
    """What tar says, and how it ends, is synthetic here."""
    fake = f'case $PWD$* in *home-of-bob*) exec /usr/bin/tar "$@";; esac; printf part; {does}'
    done = with_tar(hub, tmp_path, fake)
    assert done.returncode == 0, done.stderr
    members, manifest = unpacked(done.stdout)
    assert members["homes/ada/00000000"] == b"part"
    assert members["homes/bob/00000000"], "the next one is taken all the same"
    [*notes] = manifest["homes"]["ada"]["notes"]
    assert "".join(notes).startswith(note) and bool(notes) == bool(note)
    assert manifest["homes"]["bob"]["notes"] == []
    whose = [line.partition(": ")[0] for line in manifest["failed"]]
    assert whose == ([f"{tmp_path}/home"] if failed else [])


def with_tar(hub: dict[str, Any], tmp_path: Path, does: str, homes: str = "") -> Any:
    """Take a backup of two homes where `tar` is a shell script."""
    if os.geteuid() == 0:
        for directory in [*tmp_path.parents, tmp_path]:
            directory.chmod(directory.stat().st_mode | 0o005)
    home, etc = tmp_path / "home-of-bob", Path(hub["etc"])
    home.mkdir()
    (home / "notes").write_text("mine")
    uid = os.getuid() or 1001
    for path in (home, home / "notes", tmp_path / "home"):
        os.chown(path, uid, -1)
    passwd = (etc / "passwd").read_text().replace("bob:x:1002", f"bob:x:{uid}")
    (etc / "passwd").write_text(passwd.replace("/nowhere", str(home)))
    tar = tmp_path / "bin/tar"
    tar.parent.mkdir()
    tar.write_text(f"#!/bin/sh\n{does}\n")
    tar.chmod(0o755)
    itself = (PROGRAMS / "backup.py").read_text()
    modules = source("backup").removesuffix(itself) + f"import os\nos.defpath = '{tar.parent}'\n"
    text = itself.replace("from homes import look_into\n", homes) if homes else itself
    return subprocess.run(
        [sys.executable, "-I", "-c", modules + text, json.dumps({**hub, "homes": True})],
        capture_output=True,
        timeout=120,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount in a home is made by root")
def test_what_lies_on_another_file_system_is_named(hub: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "home/data").mkdir()
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"']
    probe = subprocess.run([*mount, tmp_path / "home/data", "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("nothing can be mounted here")
    for directory in [*tmp_path.parents, tmp_path]:
        directory.chmod(directory.stat().st_mode | 0o005)
    os.chown(tmp_path / "home", 1001, 1001)
    _, *options, text, asked = program("backup", **{**hub, "homes": True}).bits
    command = [sys.executable, *options, text.obj, asked.obj]
    done = subprocess.run([*mount, tmp_path / "home/data", *command], capture_output=True)
    assert done.returncode == 0, done.stderr
    manifest = unpacked(done.stdout)[1]
    assert manifest["homes"]["ada"]["notes"] == [
        "./data/: file is on a different filesystem; not dumped"
    ]
    assert manifest["failed"] == []


STOPPED = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
import tar
user = {"name": "x", "uid": os.getuid(), "gid": os.getgid(), "home": sys.argv[2]}
with tar.packed(user, 1) as (chunks, outcome):
    list(chunks)
print(outcome.whole, outcome.notes)
unpacking = tar.Unpacking(user, 1)
for _ in range(4):
    unpacking.write(bytes(1 << 20))
print(unpacking.close().whole, unpacking.outcome.notes)
"""


def test_a_tar_that_its_owner_has_stopped_is_not_waited_for(tmp_path: Path) -> None:
    tar = tmp_path / "tar"
    tar.write_text("#!/bin/sh\nkill -STOP $$\n")
    tar.chmod(0o755)
    script = STOPPED.replace("user =", f"tar.os.defpath = {str(tmp_path)!r}\nuser =")
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script, str(PROGRAMS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    silent = f"False ['{tmp_path} did not answer within 1 s']\n"
    assert done.stdout == silent * 2, done.stderr


def test_a_home_that_does_not_answer_is_not_waited_for() -> None:
    tar = module("tar")
    read_end, write_end = os.pipe()
    try:
        with pytest.raises(tar.Silent, match=r"^/home/ada did not answer within 0\.1 s$"):
            list(tar.chunks_of(read_end, "/home/ada", 0.1))
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_home_comes_in_chunks_of_one_size(tmp_path: Path) -> None:
    tar = module("tar")
    file = tmp_path / "file"
    file.write_bytes(b"x" * (2 * tar.CHUNK + 5))
    with file.open("rb") as source:
        lengths = [len(chunk) for chunk in tar.chunks_of(source.fileno(), "/home/ada", 9)]
    assert lengths == [tar.CHUNK, tar.CHUNK, 5]
