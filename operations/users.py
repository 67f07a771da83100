"""Groups and accounts that the settings name; those that they do not name stay as they are."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import OperationError

from facts.users import Account, Accounts, AccountState
from jupyterbox.program import Commands
from jupyterbox.settings import Box, Group, User
from operations.asking import ask
from operations.journal import noting


@deploy("Users")
def declare(box: Box) -> None:
    """The declared groups and accounts, and a first password for those that have none."""
    if box.users or box.groups:
        accounts(name="Groups and accounts", users=box.users, groups=box.groups)


@operation()
def accounts(users: list[User], groups: list[Group]) -> Commands:
    """Make the groups and accounts that are missing; add what an account lacks, take nothing away.

    + users: accounts, with the password that a new one starts with
    + groups: groups
    """
    state = ask(Accounts, **asked(users, groups))
    conflicts = other_ids(users, groups, state)
    if conflicts:
        raise OperationError(" ".join(conflicts))
    made = {group.name for group in groups} | {
        name for name, gid in state["groups"].items() if gid is not None
    }
    commands = [
        *noted(users, groups, state),
        *(make_group(group) for group in groups if state["groups"].get(group.name) is None),
        *(c for user in users for c in account_commands(user, state["users"].get(user.name), made)),
    ]
    yield from commands
    if not commands:
        host.noop("groups and accounts are there")


def asked(users: list[User], groups: list[Group]) -> dict[str, list[str]]:
    """What the accounts' fact is asked: groups that have an account's name are told, too."""
    names = [user.name for user in users]
    return {"users": names, "groups": [*(group.name for group in groups), *names]}


def other_ids(users: list[User], groups: list[Group], state: AccountState) -> list[str]:
    """What is wrong with ids that are declared and are others on the box: files change hands."""
    found = []
    for user in users:
        there = state["users"].get(user.name)
        if there and user.uid not in (None, there["uid"]):
            found.append(f"account {user.name} has uid {there['uid']}, not {user.uid}.")
    for group in groups:
        gid = state["groups"].get(group.name)
        if gid is not None and group.gid not in (None, gid):
            found.append(f"group {group.name} has gid {gid}, not {group.gid}.")
    return found


def noted(users: list[User], groups: list[Group], state: AccountState) -> Iterator[StringCommand]:
    """Note which accounts and groups are made here: they stay, and the operator can tell them."""
    new = {
        "group": [g.name for g in groups if state["groups"].get(g.name) is None],
        "account": [u.name for u in users if not state["users"].get(u.name)],
    }
    for kind, names in new.items():
        if names:
            yield noting(kind, *names)


def make_group(group: Group) -> StringCommand:
    """The command that makes a group."""
    gid = ["--gid", str(group.gid)] if group.gid else []
    return StringCommand("groupadd", *gid, QuoteString(group.name))


def account_commands(
    user: User, there: Account | None, groups: set[str]
) -> Iterator[StringCommand]:
    """What brings one account to where it shall be.

    + user: as it shall be
    + there: as it is
    + groups: those that will be there; a group that has the account's name becomes its own
    """
    name = QuoteString(user.name)
    missing = [group for group in user.groups if not there or group not in there["groups"]]
    joins = ["--groups", QuoteString(",".join(missing))] if missing else []
    if there is None:
        uid = ["--uid", str(user.uid)] if user.uid else []
        shell = ["--shell", QuoteString(user.shell or "/bin/bash")]
        group = ["--gid", name] if user.name in groups else []
        # Debian 12 makes homes that everybody can read.
        make = "useradd --create-home --key HOME_MODE=0700"
        yield StringCommand(make, *uid, *group, *shell, *joins, name)
    elif missing:
        yield StringCommand("usermod --append", *joins, name)
    if there and user.shell not in (None, there["shell"]):
        yield StringCommand("usermod --shell", QuoteString(user.shell), name)
    if there and not there["has_home"]:
        # A run that died after useradd had written the account, or a home that went.
        yield StringCommand("mkhomedir_helper", name, "0077")
    if user.password_hash and not (there and there["password"]):
        # Through standard input: an argument would stand in the process list.
        line = f"{user.name}:{user.password_hash.get_secret_value()}"
        yield StringCommand("chpasswd --encrypted", _stdin=line)
