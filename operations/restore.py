"""A hub from a backup: its users, their passwords and tokens, on a box that is to become it."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.backup import Restore, RestoreState
from jupyterbox import layout
from jupyterbox.archives import DATABASE, Archive, ArchiveError, People, read_archive
from jupyterbox.program import Commands, program
from jupyterbox.settings import Box, Hub
from jupyterbox.streaming import give, here, pump, secret_in, there
from operations.backup import HUB_STATE, failed, passphrase_problems
from operations.refusing import refuse

PEOPLES_GIDS = 1000
"""Where they begin; groups below are the system's, and go by their names."""

NAMED = 5  # of a database's users, in a sentence


@operation(is_idempotent=False)
def restored(
    box: Box, source: Path, passphrase: Path | None = None, force: bool = False
) -> Commands:
    """Put back what a backup has taken; a deploy then builds hub and environments around it.

    + box: what it shall be, whose hub must know the database
    + source: the archive, on this machine
    + passphrase: a file with what it was encrypted with
    + force: even over the database of a hub that has users
    """
    problems = [*passphrase_problems(passphrase)]
    archive = None
    if not problems:
        try:
            archive = read_archive(source, passphrase)
        except ArchiveError as error:
            problems = [str(error)]
    if archive:
        found = look(archive)
        problems = [*version_problems(archive, box.hub), *clashes(archive, found)]
        if not force:
            problems += database_problems(archive, found)
    if problems or not archive:
        yield from refuse(problems)
        return
    command = program("restore", **HUB_STATE, unit=layout.HUB_UNIT, journal=layout.JOURNAL)
    yield FunctionCommand(
        send,
        (command,),
        {"source": source, "passphrase": passphrase, "manifest": archive.text},
    )


def look(archive: Archive) -> RestoreState:
    """Ask the box for what an archive could collide with."""
    users = archive.accounts.users
    homes = sorted({user.home for user in users}) if archive.manifest.homes is not None else []
    return host.get_fact(Restore, users=[user.name for user in users], homes=homes)


def version_problems(archive: Archive, hub: Hub) -> Iterator[str]:
    """A hub refuses the database of a newer one; that of an older one it brings up to date."""
    pinned = re.search(r"^jupyterhub==([^\s;\\]+)", hub.lock_file("requirements.txt"), re.MULTILINE)
    then = archive.manifest.hub
    if pinned and then.version and ordered(then.version) > ordered(pinned[1]):
        yield (
            f"the backup is of JupyterHub {then.version} (release {then.release}), and the lock "
            f"has {pinned[1]}, which refuses the database of a newer one: set Hub(lock=...) to "
            f"one with {then.version} or later."
        )


def ordered(version: str) -> list[int]:
    """A version as numbers that can be compared."""
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3]]


def clashes(archive: Archive, found: RestoreState) -> Iterator[str]:
    """Ids that belong to others here, and homes that do or have no disk or room to lie on."""
    if not found["accounts"]:
        yield "the box has no Python to restore with: `apt-get install python3` there."
        return
    yield from clashing_users(archive, found)
    yield from clashing_groups(archive.accounts, found)
    yield from home_problems(archive, found)


def clashing_users(archive: Archive, found: RestoreState) -> Iterator[str]:
    """Accounts that are others here: files would change hands, or come to where nobody looks."""
    people, homes = archive.accounts.users, archive.manifest.homes or {}
    ours = {(user.name, user.uid) for user in people}
    by_uid = {
        u["uid"]: name for name, u in found["accounts"].items() if (name, u["uid"]) not in ours
    }
    for user in people:
        there = found["accounts"].get(user.name)
        if there and there["uid"] != user.uid:
            yield f"account {user.name} has uid {there['uid']} here, and {user.uid} in the backup."
        elif there and there["gid"] != user.gid and user.gid >= PEOPLES_GIDS:
            yield f"account {user.name} has gid {there['gid']} here, and {user.gid} in the backup."
        elif there and user.name in homes and there["home"].rstrip("/") != user.home.rstrip("/"):
            yield (
                f"account {user.name} has its home in {there['home']} here, and the backup has one "
                f"for {user.home}: `usermod --home {user.home} {user.name}` on the box first."
            )
        elif not there and user.uid in by_uid:
            other = by_uid[user.uid]
            yield f"uid {user.uid} is {other}'s here, and {user.name}'s in the backup."


def clashing_groups(people: People, found: RestoreState) -> Iterator[str]:
    """The same of groups, but for the system's."""
    ours = {(group.name, group.gid) for group in people.groups}
    by_gid = {gid: name for name, gid in found["groups"].items() if (name, gid) not in ours}
    for group in people.groups:
        gid = found["groups"].get(group.name)
        if group.gid < PEOPLES_GIDS:
            continue
        if gid is not None and gid != group.gid:
            yield f"group {group.name} has gid {gid} here, and {group.gid} in the backup."
        elif gid is None and group.gid in by_gid:
            other = by_gid[group.gid]
            yield f"gid {group.gid} is {other}'s here, and {group.name}'s in the backup."


def home_problems(archive: Archive, found: RestoreState) -> Iterator[str]:
    """What keeps the homes in the archive from being unpacked."""
    needed: dict[str, int] = defaultdict(int)
    free: dict[str, int] = {}
    uids = {user.name: user.uid for user in archive.accounts.users}
    for name, taken in (archive.manifest.homes or {}).items():
        home = found["homes"].get(taken.home)
        if home and home["problem"]:
            yield f"{home['problem']}: it is where the home of {name} shall lie."
            continue
        if home is None or home["device"] is None:
            parent = taken.home.rstrip("/").rpartition("/")[0]
            yield f"{parent}, where the home of {name} was, is not on this box: mount or make it."
            continue
        if home["owner"] not in (None, uids[name]):
            yield f"{taken.home} is not {name}'s here: it belongs to uid {home['owner']}."
        needed[home["device"]] += taken.size >> 20
        free[home["device"]] = home["free_mb"]
    for device, megabytes in needed.items():
        if megabytes > free[device]:
            yield (
                f"the homes take {megabytes} MB, and their disk has {free[device]} MB free: make "
                "room."
            )


def database_problems(archive: Archive, found: RestoreState) -> Iterator[str]:
    """Users that a hub has here, and would lose; not those of an earlier run of this restore."""
    there = found["database"]
    if not there or there["sha256"] == archive.manifest.members[DATABASE].sha256:
        return
    users = there["users"]
    if users is None:
        who = "that cannot be read"
    else:
        users = [name for name in users if name != layout.VERIFY_ACCOUNT]
        more = f" and {len(users) - NAMED} more" if len(users) > NAMED else ""
        who = f"with users in it ({', '.join(users[:NAMED])}{more})"
    if users != []:
        yield (
            f"the hub on this box has a database {who}: `--data force=yes` puts the backup's in "
            f"its place, and keeps this one as {layout.DATABASE}.before-restore."
        )


def send(
    state: State,
    host: Host,
    command: StringCommand,
    source: Path,
    passphrase: Path | None,
    manifest: str,
) -> bool:
    """Send an archive to the program on the box; what it says is shown when it has ended."""
    with secret_in(passphrase) as (descriptor, options):
        asked: dict[str, Any] = {"path": str(source), "passphrase": descriptor, "plain": True}
        reader = here("open_archive", json.dumps(asked), **options)
    restorer = there(state, host, command)
    told = give(restorer.stdin, manifest.encode() + b"\n")
    if not (told and pump(host, reader.stdout, restorer.stdin)):
        reader.stop()
    ended, read = restorer.end(), reader.end()
    for line in ended.out.splitlines():
        host.log(line)
    if ended.status:
        return failed(host, ended.reason if ended.err or not read.status else read.reason)
    host.log_styled("restored; `pyinfra INVENTORY deploy.py` builds the rest", fg="green")
    return True
