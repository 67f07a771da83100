"""A backup of the hub, taken while it runs, to this machine or to a path on the box."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.backup import Backup
from jupyterbox import __version__, layout
from jupyterbox.program import Commands, program
from jupyterbox.settings import Box
from jupyterbox.streaming import give, here, pump, secret_in, there
from operations.refusing import refuse

PASSPHRASE = 3
"""The descriptor that a program on the box reads it from."""

HUB_STATE: dict[str, Any] = {
    "state_dir": layout.STATE,
    "database": layout.DATABASE,
    "secrets": [layout.COOKIE_SECRET, layout.PROXY_ENVIRONMENT],
    "configuration": [layout.CONFIG, layout.CONFIG_D],
    "drop_ins": [f"{layout.unit_file(unit)}.d" for unit in (layout.HUB_UNIT, layout.PROXY_UNIT)],
}
"""Where what is taken lies, and is put back to."""


@operation(is_idempotent=False)
def taken(
    box: Box,
    to: Path | None,
    on_box: str | None = None,
    homes: bool = False,
    passphrase: Path | None = None,
) -> Commands:
    """Take a backup: hub, accounts, locks; one archive, read back before it has its name.

    + box: its settings name accounts, and where conda is
    + to: a directory on this machine, made if it is missing
    + on_box: a directory on the box, in its stead
    + homes: take people's homes, too
    + passphrase: a file with one; the archive is encrypted with it
    """
    found = host.get_fact(Backup, directory=on_box)
    problems = [*passphrase_problems(passphrase)]
    if not found["database"]:
        problems.append(
            f"there is no {layout.DATABASE}: no hub has run here, or it has its database elsewhere."
        )
    if on_box and not found["directory"]:
        problems.append(f"the box has no directory {on_box}: mount it, or make it.")
    if on_box and passphrase and not found["gpg"]:
        problems.append("the box has no gpg to encrypt with: `apt-get install gpg` there.")
    if problems:
        yield from refuse(problems)
        return
    command = backup_command(box, host.name, homes)
    if on_box:
        yield FunctionCommand(
            keep_on_box, (command,), {"directory": on_box, "passphrase": passphrase}
        )
    elif to:
        yield FunctionCommand(keep_here, (command,), {"to": to, "passphrase": passphrase})


def passphrase_problems(path: Path | None) -> Iterator[str]:
    """What is wrong with the file that a passphrase shall be in."""
    if path is None:
        return
    try:
        with path.open("rb") as file:
            empty = not file.readline().strip()
    except OSError as error:
        yield f"the passphrase cannot be read: {path}: {error.strerror}."
        return
    if empty:
        yield f"{path} has no passphrase in its first line."
    if path.stat().st_mode & 0o077:
        yield f"others can read the passphrase: chmod 600 {path}."


def backup_command(box: Box, name: str, homes: bool) -> StringCommand:
    """The command that prints the archive."""
    return program(
        "backup",
        **HUB_STATE,
        root=layout.ROOT,
        conda_root=box.conda.root,
        etc="/etc",
        accounts=[user.name for user in box.users],
        minimum_uid=min(1000, box.hub.minimum_uid),
        without=[layout.VERIFY_ACCOUNT],
        homes=homes,
        about={"by": f"jupyterbox {__version__}", "host": name},
    )


def archive(name: str, encrypted: bool, now: datetime) -> dict[str, str]:
    """What an archive is called, and a pattern of what is left of one that was never finished.

    + name: the box's; another's may begin with it
    """
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.") or "box"
    ending = ".tar.gz.gpg" if encrypted else ".tar.gz"
    debris = rf"\.{re.escape(name)}-\d{{8}}T\d{{6}}Z\.tar\.gz(\.gpg)?\.part"
    return {"name": f"{name}-{now:%Y%m%dT%H%M%SZ}{ending}", "debris": debris}


def keep_here(
    state: State, host: Host, command: StringCommand, to: Path, passphrase: Path | None
) -> bool:
    """Keep on this machine what a command on the box prints; encrypted here, after SSH."""
    arguments = {
        **archive(host.name, passphrase is not None, datetime.now(timezone.utc)),
        "directory": str(to.expanduser().absolute()),
        "make": True,
        "progress": False,
    }
    with secret_in(passphrase) as (descriptor, options):
        keeper = here(
            "keep_archive", json.dumps({**arguments, "passphrase": descriptor}), **options
        )
    source = there(state, host, command)
    if not pump(host, source.stdout, keeper.stdin):
        source.stop()
    # What came is whole if its manifest is there: the keeper knows, but not why it is not.
    kept, printed = keeper.end(), source.end()
    if printed.status and printed.err:
        return failed(host, printed.reason)
    if kept.status:
        return failed(host, kept.reason)
    return tell(host, kept.out)


def keep_on_box(
    state: State, host: Host, command: StringCommand, directory: str, passphrase: Path | None
) -> bool:
    """Keep it on the box itself; the passphrase comes there on standard input."""
    keeper = program(
        "keep_archive",
        **archive(host.name, passphrase is not None, datetime.now(timezone.utc)),
        directory=directory,
        make=False,
        progress=True,
        passphrase=PASSPHRASE if passphrase else None,
    )
    # The status is the keeper's, which knows whether all of it came.
    line = StringCommand("{", command, "</dev/null 3<&- |", keeper, f"; }} {PASSPHRASE}<&0")
    process = there(state, host, line)
    if passphrase:
        give(process.stdin, passphrase.read_bytes().splitlines()[0] + b"\n")
    process.no_more()
    while (said := process.stdout.readline()) and not said.startswith(b"{"):
        host.log(said.decode(errors="replace").rstrip())
    ended = process.end()
    return failed(host, ended.reason) if ended.status else tell(host, said.decode())


def failed(host: Host, reason: str) -> bool:
    """Say why there is no backup."""
    host.log_styled(reason, fg="red")
    return False


def tell(host: Host, answered: str) -> bool:
    """Say what there is now; whether it is all that there should be."""
    kept = json.loads(answered)
    for note in kept["notes"]:
        host.log_styled(f"not taken: {note}", fg="yellow")
    host.log_styled(f"{kept['path']} ({max(1, kept['size'] >> 10)} kB)", fg="green")
    for home in kept["failed"]:
        host.log_styled(f"the hub is in it, but a home is missing or not whole: {home}", fg="red")
    return not kept["failed"]
