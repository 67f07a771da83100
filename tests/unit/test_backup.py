"""Backup and restore: what is refused before anything is done, and what comes to this machine."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError, PyinfraError

from facts.backup import Backup, Restore
from jupyterbox import layout
from jupyterbox.archives import ArchiveError, read_archive
from jupyterbox.settings import Box, Hub, User
from jupyterbox.streaming import Local
from operations import backup, restore
from tests.unit.archives import ADA, GROUPS, archive, packed, unpacked
from tests.unit.engine import fact, plan, programs, run, show
from tests.unit.remote import call, module

READY = {"database": True, "directory": True, "gpg": True}
BARE = {
    "accounts": {
        "root": {"uid": 0, "gid": 0, "home": "/root"},
        "ops": {"uid": 1000, "gid": 1000, "home": "/home/ops"},
    },
    "groups": {"root": 0, "sudo": 27, "ops": 1000},
    "homes": {},
    "database": None,
}
needs_gpg = pytest.mark.skipif(not shutil.which("gpg"), reason="gpg encrypts")


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    """A file with a passphrase."""
    path = tmp_path / "passphrase"
    path.write_text("correct horse\n")
    path.chmod(0o600)
    return path


def refused(operation: Callable[..., Any], says: Any, **arguments: Any) -> str:
    """Why an operation refuses a box while it plans."""
    with pytest.raises(OperationError) as caught:
        plan(operation, box=arguments.pop("box", Box()), says=says, **arguments)
    head, *problems = str(caught.value).split("\n  - ")
    assert head == "@fake/box is not ready:"
    return "\n".join(problems)


def box_prints(monkeypatch: pytest.MonkeyPatch, *command: str) -> list[Local]:
    """Have a command of this machine answer for the box; those that were started."""
    started: list[Local] = []

    def there(*_: Any) -> Local:
        started.append(Local([*command]))
        return started[-1]

    monkeypatch.setattr(backup, "there", there)
    monkeypatch.setattr(restore, "there", there)
    return started


# --- the facts ---


def test_facts_of_a_bare_box() -> None:
    assert fact(Backup) == {"database": False, "directory": False, "gpg": False}
    assert fact(Restore)["accounts"] == {}


def test_what_a_box_says_is_what_the_facts_take(tmp_path: Path) -> None:
    said = call("backup_state", database=str(tmp_path / "no"), directory=str(tmp_path)).stdout
    found = fact(Backup, programs(backup_state=json.loads(said)), directory=str(tmp_path))
    assert (found["database"], found["directory"]) == (False, True)
    home: dict[str, Any] = {"users": ["root"], "homes": [str(tmp_path), "/no/where"]}
    said = call("restore_state", database=str(tmp_path / "no"), **home).stdout
    found = fact(Restore, programs(restore_state=json.loads(said)), **home)
    assert found["accounts"]["root"] == {"uid": 0, "gid": 0, "home": "/root"}
    nothing = {"owner": None, "device": None, "free_mb": 0, "problem": None}
    assert found["homes"]["/no/where"] == nothing
    assert found["homes"][str(tmp_path)]["owner"] == tmp_path.stat().st_uid
    assert found["database"] is None


# --- the backup ---


def test_what_a_backup_takes() -> None:
    box = Box(users=[User(name="svc")], hub=Hub(minimum_uid=500))
    _, asked = show(backup.backup_command(box, "hub.example.org", homes=True))
    assert asked["about"]["host"] == "hub.example.org"
    assert asked["accounts"] == ["svc"]
    assert asked["minimum_uid"] == 500
    assert asked["without"] == [layout.VERIFY_ACCOUNT]
    assert asked["homes"] is True
    assert asked["drop_ins"] == [
        "/etc/systemd/system/jupyterhub.service.d",
        "/etc/systemd/system/jupyterhub-proxy.service.d",
    ]


@pytest.mark.parametrize(
    ("found", "arguments", "says"),
    [
        (
            {"database": False},
            {},
            f"there is no {layout.DATABASE}: no hub has run here, or it has its database "
            "elsewhere.",
        ),
        (
            {"directory": False},
            {"on_box": "/mnt/nas"},
            "the box has no directory /mnt/nas: mount it, or make it.",
        ),
    ],
)
def test_a_backup_is_refused(found: Any, arguments: Any, says: str, tmp_path: Path) -> None:
    answers = programs(backup_state={**READY, **found})
    assert refused(backup.taken, answers, to=tmp_path, **arguments) == says
    assert list(tmp_path.iterdir()) == []


def test_a_passphrase_must_be_there_and_nobody_elses(tmp_path: Path, passphrase: Path) -> None:
    says = programs(backup_state=READY)
    passphrase.chmod(0o644)
    assert refused(backup.taken, says, to=tmp_path, passphrase=passphrase) == (
        f"others can read the passphrase: chmod 600 {passphrase}."
    )
    passphrase.chmod(0o600)
    passphrase.write_text("\n")
    assert refused(backup.taken, says, to=tmp_path, passphrase=passphrase) == (
        f"{passphrase} has no passphrase in its first line."
    )
    none = tmp_path / "none"
    assert refused(backup.taken, says, to=tmp_path, passphrase=none) == (
        f"the passphrase cannot be read: {none}: No such file or directory."
    )


def test_a_box_without_gpg_encrypts_nothing(passphrase: Path) -> None:
    answers = programs(backup_state={**READY, "gpg": False})
    assert refused(backup.taken, answers, to=None, on_box="/mnt", passphrase=passphrase) == (
        "the box has no gpg to encrypt with: `apt-get install gpg` there."
    )


def test_names_of_archives_are_names_of_files() -> None:
    now = datetime(2026, 11, 23, 22, 5, tzinfo=timezone.utc)
    named = backup.archive("hub.example.org", False, now)
    assert named["name"] == "hub.example.org-20261123T220500Z.tar.gz"
    assert backup.archive("@local", True, now)["name"] == "local-20261123T220500Z.tar.gz.gpg"
    assert backup.archive("../..", True, now)["name"] == "box-20261123T220500Z.tar.gz.gpg"


def taken(to: Path, **arguments: Any) -> Any:
    """Take a backup with a box that is ready."""
    says = programs(backup_state=READY)
    return run(backup.taken, box=Box(), to=to, says=says, **arguments)


def test_an_archive_comes_to_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    (tmp_path / "box").write_bytes(packed())
    box_prints(monkeypatch, "cat", str(tmp_path / "box"))
    [(command, asked)] = taken(tmp_path / "backups")
    assert (command, asked["homes"]) == ("backup", False)
    [kept] = (tmp_path / "backups").iterdir()
    assert kept.name.startswith("fake-box-2") and kept.name.endswith("Z.tar.gz")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert unpacked(kept.read_bytes())[0]["hub/database"] == b"SQLite"


@needs_gpg
def test_an_encrypted_archive_comes_and_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passphrase: Path
) -> None:
    (tmp_path / "box").write_bytes(packed())
    box_prints(monkeypatch, "cat", str(tmp_path / "box"))
    taken(tmp_path / "backups", passphrase=passphrase)
    [kept] = (tmp_path / "backups").iterdir()
    assert read_archive(kept, passphrase).manifest.hub.version == "5.0.0"
    with pytest.raises(ArchiveError, match=r"is encrypted: say `--data passphrase_file=`"):
        read_archive(kept, None)


@pytest.mark.parametrize(
    "box",
    [
        "cat ARCHIVE | head -c 300",
        "cat ARCHIVE | head -c 300; echo The hub is on fire. >&2; exit 1",
        "echo There is no sudo. >&2; exit 1",
        "exit 1",
    ],
)
def test_a_backup_that_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: str, capfd: Any
) -> None:
    (tmp_path / "box").write_bytes(packed())
    command = box.replace("ARCHIVE", str(tmp_path / "box"))
    box_prints(monkeypatch, "sh", "-c", command)
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        taken(tmp_path / "backups")
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_directory_that_cannot_be_written_to_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    started = box_prints(monkeypatch, "sh", "-c", "while echo more; do :; done")
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        taken(tmp_path / "file")
    assert started[0].process.returncode is not None, "nobody reads what it prints"


def test_an_archive_stays_on_the_box(
    monkeypatch: pytest.MonkeyPatch, passphrase: Path, tmp_path: Path
) -> None:
    note = json.dumps({"path": "/mnt/x", "size": 7, "notes": [], "failed": []})
    script = f"cat >{tmp_path}/given; echo 11 MB so far; echo '{note}'"
    box_prints(monkeypatch, "sh", "-c", script)
    taken(tmp_path / "none", on_box="/mnt", passphrase=passphrase)
    assert (tmp_path / "given").read_text() == "correct horse\n"
    assert not (tmp_path / "none").exists()


def test_a_backup_without_all_of_a_home_is_kept_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    (tmp_path / "box").write_bytes(packed(failed=["/home/bob did not answer within 2 s"]))
    box_prints(monkeypatch, "cat", str(tmp_path / "box"))
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        taken(tmp_path / "backups")
    assert len(list((tmp_path / "backups").iterdir())) == 1


# --- the restore ---


def restoring(archive: bytes, tmp_path: Path, says: Any = BARE, **arguments: Any) -> str:
    """Why a restore is refused."""
    path = tmp_path / "archive"
    path.write_bytes(archive)
    return refused(restore.restored, programs(restore_state=says), source=path, **arguments)


def test_an_archive_goes_to_a_bare_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "archive"
    # Longer than what a file reads ahead.
    source.write_bytes(packed({"hub/database": os.urandom(99999)}))
    box_prints(monkeypatch, "sh", "-c", f"cat >{tmp_path}/sent; echo 1 accounts")
    says = programs(restore_state=BARE)
    [(command, asked)] = run(restore.restored, box=Box(), source=source, says=says)
    assert (command, asked["unit"]) == ("restore", layout.HUB_UNIT)
    line, _, content = (tmp_path / "sent").read_bytes().partition(b"\n")
    assert content == source.read_bytes()
    assert json.loads(line) == unpacked(content)[1]


def test_a_restore_that_fails_on_the_box_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "archive"
    source.write_bytes(packed())
    box_prints(monkeypatch, "sh", "-c", "echo no room >&2; exit 1")
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run(restore.restored, box=Box(), source=source, says=programs(restore_state=BARE))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"garbage", "{path} is not a backup."),
        (packed()[:-5], "{path} is damaged"),
        (b"", "{path} is not a backup."),
        (packed({"hub/cookie_secret": b"x"}), "{path} is no whole backup of a hub."),
        (
            packed({"hub/database": b"x", "homes/eve/00000000": b"x"}),
            "{path} is no whole backup of a hub.",
        ),
        (packed(users=[{**ADA, "uid": 0}]), "{path}: accounts.users.0.uid: "),
        (packed(users=[{**ADA, "password": "a:b"}]), "{path}: accounts.users.0.password: "),
        (packed(users=[{**ADA, "name": "-x"}]), "{path}: accounts.users.0.name: "),
        (packed(users=[{**ADA, "shell": "/x\nroot::0"}]), "{path}: accounts.users.0.shell: "),
        (packed(users=[{**ADA, "home": "/home/../etc"}]), "{path}: accounts.users.0.home: "),
        (packed(users="x"), "{path}: accounts.users.0: "),
        (packed(hub=None), "{path}: manifest.hub: "),
    ],
)
def test_what_is_no_backup_is_not_restored(content: bytes, says: str, tmp_path: Path) -> None:
    found = restoring(content, tmp_path)
    assert found.startswith(says.format(path=tmp_path / "archive"))
    assert "\n" not in found
    assert "geheim" not in found


def test_a_database_of_a_newer_hub_is_refused(tmp_path: Path) -> None:
    newer = packed(hub={"release": "3a94aa", "version": "99.1.0"})
    pinned = Hub().lock_file("requirements.txt").partition("jupyterhub==")[2].split()[0]
    assert restoring(newer, tmp_path) == (
        f"the backup is of JupyterHub 99.1.0 (release 3a94aa), and the lock has {pinned}, which "
        "refuses the database of a newer one: set Hub(lock=...) to one with 99.1.0 or later."
    )


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (
            {"accounts": {}},
            "the box has no Python to restore with: `apt-get install python3` there.",
        ),
        (
            {"accounts": {"ada": {"uid": 1000, "gid": 1001, "home": "/home/ada"}}},
            "account ada has uid 1000 here, and 1001 in the backup.",
        ),
        (
            {"accounts": {"ada": {"uid": 1001, "gid": 100, "home": "/home/ada"}}},
            "account ada has gid 100 here, and 1001 in the backup.",
        ),
        (
            {"accounts": {"ops": {"uid": 1001, "gid": 1, "home": "/home/ada"}}},
            "uid 1001 is ops's here, and ada's in the backup.",
        ),
        ({"groups": {"ada": 7}}, "group ada has gid 7 here, and 1001 in the backup."),
        ({"groups": {"x": 1001}}, "gid 1001 is x's here, and ada's in the backup."),
        (
            {"database": {"users": ["ada", "bob"], "sha256": "1"}},
            "the hub on this box has a database with users in it (ada, bob): `--data force=yes` "
            "puts the backup's in its place, and keeps this one as "
            f"{layout.DATABASE}.before-restore.",
        ),
        (
            {"database": {"users": None, "sha256": "1"}},
            "the hub on this box has a database that cannot be read: `--data force=yes` puts the "
            f"backup's in its place, and keeps this one as {layout.DATABASE}.before-restore.",
        ),
    ],
)
def test_what_is_in_the_way_is_said_before(there: Any, says: str, tmp_path: Path) -> None:
    assert restoring(packed(), tmp_path, {**BARE, **there}) == says


@pytest.mark.parametrize(
    "there",
    [
        {
            "accounts": {"ada": {"uid": 1001, "gid": 1001, "home": "/home/ada"}},
            "groups": {"ada": 1001},
        },
        # Of the system's groups, the names count.
        {"groups": {"sudo": 999}},
        {"database": {"users": [layout.VERIFY_ACCOUNT], "sha256": "1"}},
        {"database": {"users": [], "sha256": "1"}},
        # An earlier run of the same restore.
        {"database": {"users": ["ada"], "sha256": "DATABASE"}},
    ],
)
def test_what_is_not_in_the_way(there: Any, tmp_path: Path) -> None:
    content = packed()
    sha256 = unpacked(content)[1]["members"]["hub/database"]["sha256"]
    path = tmp_path / "archive"
    path.write_bytes(content)
    there = json.loads(json.dumps({**BARE, **there}).replace("DATABASE", sha256))
    assert plan(restore.restored, box=Box(), source=path, says=programs(restore_state=there))


def test_users_are_lost_only_when_told_to(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(packed())
    there = {**BARE, "database": {"users": ["zoe"], "sha256": "1"}}
    says = programs(restore_state=there)
    assert plan(restore.restored, box=Box(), source=path, force=True, says=says)


@pytest.mark.parametrize(
    ("home", "says"),
    [
        (
            {"owner": None, "device": None, "free_mb": 0, "problem": None},
            "/home, where the home of ada was, is not on this box: mount or make it.",
        ),
        (
            {"owner": 7, "device": "1", "free_mb": 9999, "problem": None},
            "/home/ada is not ada's here: it belongs to uid 7.",
        ),
        (
            {"owner": 1001, "device": "1", "free_mb": 9, "problem": None},
            "the homes take 10 MB, and their disk has 9 MB free: make room.",
        ),
        (
            {"owner": None, "device": None, "free_mb": 0, "problem": "/home/ada is gone"},
            "/home/ada is gone: it is where the home of ada shall lie.",
        ),
    ],
)
def test_homes_need_a_disk_and_room(home: Any, says: str, tmp_path: Path) -> None:
    members = {"hub/database": b"x", "homes/ada/00000000": b"x"}
    homes = {"ada": {"home": "/home/ada", "size": 10 << 20, "notes": []}}
    content = packed(members, homes=homes)
    assert restoring(content, tmp_path, {**BARE, "homes": {"/home/ada": home}}) == says


def test_an_account_whose_home_is_elsewhere_is_told_before_its_home_is_unpacked(
    tmp_path: Path,
) -> None:
    homes = {"ada": {"home": "/home/ada", "size": 1, "notes": []}}
    members = {"hub/database": b"x", "homes/ada/00000000": b"x"}
    room = {"owner": 1001, "device": "1", "free_mb": 9, "problem": None}
    there = {**BARE, "homes": {"/home/ada": room}}
    there["accounts"] = {"ada": {"uid": 1001, "gid": 1001, "home": "/srv/ada"}}
    assert restoring(packed(members, homes=homes), tmp_path, there) == (
        "account ada has its home in /srv/ada here, and the backup has one for /home/ada: "
        "`usermod --home /home/ada ada` on the box first."
    )
    path = tmp_path / "archive"
    path.write_bytes(packed())
    assert plan(restore.restored, box=Box(), source=path, says=programs(restore_state=there))


def test_accounts_that_shared_an_id_share_it_again(tmp_path: Path) -> None:
    eve = {**ADA, "name": "eve", "group": "crew"}
    groups = [*GROUPS, {"name": "crew", "gid": 1001, "members": []}]
    path = tmp_path / "archive"
    path.write_bytes(packed(users=[ADA, eve], groups=groups))
    # A run that died after it had made the first of each.
    accounts = {"ada": {"uid": 1001, "gid": 1001, "home": "/home/ada"}}
    there = {**BARE, "accounts": accounts, "groups": {"ada": 1001}}
    assert plan(restore.restored, box=Box(), source=path, says=programs(restore_state=there))


def test_the_archive_modules_agree() -> None:
    assert archive.DATABASE == restore.DATABASE
    assert restore.PEOPLES_GIDS == module("people").LOWEST_FREE_GID
