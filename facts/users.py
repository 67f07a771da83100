"""Accounts and groups of a box."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from jupyterbox.program import answer, question


class Account(TypedDict):
    """An account; `password` says whether it has one, or had one and is locked."""

    uid: int
    shell: str
    home: str
    has_home: bool
    groups: list[str]
    password: bool


class AccountState(TypedDict):
    """Accounts by name and gids by name; `None` for those that are not there."""

    users: dict[str, Account | None]
    groups: dict[str, int | None]


class Accounts(FactBase[AccountState]):
    """Some accounts and groups, from wherever the box has them. Needs root.

    ```
    {"users": {"ada": {"uid": 1000, "shell": "/bin/bash", "home": "/home/ada", "has_home": True,
               "groups": ["ada"], "password": True}}, "groups": {"lab": None}}
    ```

    Args:
        users: names.
        groups: names.
    """

    def command(
        self, users: list[str] | None = None, groups: list[str] | None = None
    ) -> StringCommand:
        return question("accounts", users=users or [], groups=groups or [])

    @staticmethod
    def default() -> AccountState:
        return {"users": {}, "groups": {}}

    def process(self, output: list[str]) -> AccountState:
        return answer(output, AccountState)
