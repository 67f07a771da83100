"""What is in the archive of a backup, as far as a restore decides on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from jupyterbox.checks import matching
from jupyterbox.streaming import here, secret_in

DATABASE = "hub/database"


class ArchiveError(Exception):
    """Why an archive cannot be restored, as a sentence."""


class _Said(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def _not_up(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError("it leads upwards")
    return path


# Each becomes a field of /etc/passwd, /etc/group or /etc/shadow, and an argument of useradd.
Name = Annotated[str, matching(r"[A-Za-z0-9_][^:,/\s\x00-\x1f]{0,255}", "that is no name")]
Text = Annotated[str, matching(r"[^:\n\x00]*", "that has a colon or an end of line in it")]
HomePath = Annotated[
    str, matching(r"/[^:\n\x00]*", "a home is a path from the root"), AfterValidator(_not_up)
]
Day = Annotated[str, matching(r"(-?[0-9]{1,9})?", "that is no number of days")]
Id = Annotated[int, Field(ge=1, le=2**32 - 2)]
GroupId = Annotated[int, Field(ge=0, le=2**32 - 2)]


class Person(_Said):
    """An account; never root's."""

    name: Name
    uid: Id
    gid: GroupId
    group: Name
    comment: Text
    home: HomePath
    shell: Text
    password: Text
    aging: list[Day]


class PeopleGroup(_Said):
    """A group."""

    name: Name
    gid: GroupId
    members: list[Name]


class People(_Said):
    """All of them."""

    users: list[Person]
    groups: list[PeopleGroup]


class Member(_Said):
    """A file of the archive."""

    size: int
    sha256: str


class TakenHome(_Said):
    """A home that is in it; how large, in bytes."""

    home: HomePath
    size: int


class HubVersion(_Said):
    """The release that the hub was at, and its JupyterHub."""

    release: str | None
    version: str | None


class Manifest(_Said):
    """What is in it, and when it was made, on which box."""

    by: str
    host: str
    hostname: str
    made: str
    hub: HubVersion
    homes: dict[str, TakenHome] | None
    members: dict[str, Member]


class Archive(_Said):
    """An archive that is whole; `text` is its manifest as it is."""

    manifest: Manifest
    accounts: People
    text: str


def read_archive(path: Path, passphrase: Path | None) -> Archive:
    """Read an archive from its beginning to its end, and refuse it if a byte is wrong.

    Args:
        path: of the archive.
        passphrase: a file with what it was encrypted with, if it was.

    Raises:
        ArchiveError: it is not whole, or says what no backup does.
    """
    with secret_in(passphrase) as (descriptor, options):
        asked = json.dumps({"path": str(path), "passphrase": descriptor, "plain": False})
        reader = here("open_archive", asked, **options)
    read = reader.end()
    if read.status:
        raise ArchiveError(read.reason)
    said = json.loads(read.out)
    try:
        found = Archive(**said, text=json.dumps(said["manifest"]))
    except (ValidationError, TypeError) as error:
        if not isinstance(error, ValidationError):
            raise ArchiveError(f"{path} has accounts in it that cannot be read.") from None
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ArchiveError(f"{path}: {where}: {first['msg']}.") from None
    members, homes = found.manifest.members, found.manifest.homes or {}
    unpacked = {name.split("/")[1] for name in members if name.startswith("homes/")}
    known = {user.name for user in found.accounts.users}
    if DATABASE not in members or not unpacked <= set(homes) <= known:
        raise ArchiveError(f"{path} is no whole backup of a hub.")
    return found
