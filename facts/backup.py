"""What a backup wants to know of a box, and a restore."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from jupyterbox import layout
from jupyterbox.program import answer, question


class BackupState(TypedDict):
    """Whether there is a database to take, a directory to keep the archive in, and gpg."""

    database: bool
    directory: bool
    gpg: bool


class Backup(FactBase[BackupState]):
    """What a backup needs. Needs root.

    ```
    {"database": True, "directory": True, "gpg": False}
    ```

    Args:
        directory: on the box, if the archive shall stay there.
    """

    def command(self, directory: str | None = None) -> StringCommand:
        return question("backup_state", database=layout.DATABASE, directory=directory)

    @staticmethod
    def default() -> BackupState:
        return {"database": False, "directory": False, "gpg": False}

    def process(self, output: list[str]) -> BackupState:
        return answer(output, BackupState)


class Ids(TypedDict):
    """An account's, and its home."""

    uid: int
    gid: int
    home: str


class Home(TypedDict):
    """Whose a home is, if it is there; the disk that it is on or would be, if that is there.

    `problem` is why it cannot be told: a server that is gone.
    """

    owner: int | None
    device: str | None
    free_mb: int
    problem: str | None


class Database(TypedDict):
    """The hub's: its users, `None` where it cannot be read."""

    users: list[str] | None
    sha256: str


class RestoreState(TypedDict):
    """A box as a restore finds it; accounts and groups by name, homes by path."""

    accounts: dict[str, Ids]
    groups: dict[str, int]
    homes: dict[str, Home]
    database: Database | None


class Restore(FactBase[RestoreState]):
    """What a restore could collide with; without accounts on a box that has no Python. Needs root.

    ```
    {"accounts": {"ada": {"uid": 1001, "gid": 1001, "home": "/home/ada"}, …},
     "groups": {"ada": 1001, …},
     "homes": {"/home/ada": {"owner": None, "device": "2049", "free_mb": 81920, "problem": None}},
     "database": {"users": ["ada"], "sha256": "8c1f…"}}
    ```

    Args:
        users: accounts that are asked for by name, since a directory service may not list them.
        homes: paths.
    """

    def command(
        self, users: list[str] | None = None, homes: list[str] | None = None
    ) -> StringCommand:
        return question(
            "restore_state", database=layout.DATABASE, users=users or [], homes=homes or []
        )

    @staticmethod
    def default() -> RestoreState:
        return {"accounts": {}, "groups": {}, "homes": {}, "database": None}

    def process(self, output: list[str]) -> RestoreState:
        return answer(output, RestoreState)
