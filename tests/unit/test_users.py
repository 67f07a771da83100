"""Groups and accounts: what is there is read, what is missing is made, nothing is taken away."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr
from pyinfra.api.exceptions import OperationError

from facts.users import Accounts
from jupyterbox.settings import Box, Group, User
from operations import users
from operations.journal import noting
from tests.unit.engine import Shown, deployed, fact, first_line, plan, programs, recorded, run, show

ADA = {
    "uid": 1000,
    "shell": "/bin/bash",
    "home": "/home/ada",
    "has_home": True,
    "groups": ["ada", "lab"],
    "password": True,
}


def accounts(declared: list[User], groups: list[Group] | None = None, **there: Any) -> list[Shown]:
    """What is run for some accounts on a box that has others; a number is a group's gid."""
    found = {
        "users": {user.name: there.get(user.name) for user in declared},
        "groups": {group.name: there.get(group.name) for group in groups or []},
    }
    return run(users.accounts, users=declared, groups=groups or [], says=programs(accounts=found))


# --- the fact ---


def test_accounts_as_a_box_says() -> None:
    said = {first_line("accounts"): recorded("users/accounts")}
    found = fact(Accounts, said, users=["ops"], groups=["sudo"])
    assert found["users"]["ops"] == {
        "uid": 1000,
        "shell": "/bin/bash",
        "home": "/home/ops",
        "has_home": True,
        "groups": ["ops", "sudo"],
        "password": False,
    }
    assert found["users"]["opspw"]["password"] is True
    assert found["users"]["ada"] is None
    assert found["groups"] == {"sudo": 27, "lab": None}


def test_a_bare_box_has_no_accounts() -> None:
    assert fact(Accounts, users=["ada"]) == {"users": {}, "groups": {}}


# --- the operation ---


def test_a_new_account_has_everything_at_once() -> None:
    ada = User(
        name="ada",
        uid=1234,
        shell="/bin/zsh",
        groups=["lab", "docker"],
        password_hash=SecretStr("$6$a$b"),
    )
    assert accounts([ada]) == [
        show(noting("account", "ada")),
        "useradd --create-home --key HOME_MODE=0700 --uid 1234 --shell /bin/zsh "
        "--groups lab,docker ada",
        ("chpasswd --encrypted", {"_stdin": "ada:$6$a$b"}),
    ]


def test_a_new_account_has_bash_and_no_password_by_default() -> None:
    assert accounts([User(name="ada")]) == [
        show(noting("account", "ada")),
        "useradd --create-home --key HOME_MODE=0700 --shell /bin/bash ada",
    ]


def test_a_password_hash_stands_in_no_command() -> None:
    ada = User(name="ada", password_hash=SecretStr("$6$salt$geheim"))
    commands = accounts([ada])
    assert commands[-1] == ("chpasswd --encrypted", {"_stdin": "ada:$6$salt$geheim"})
    assert not any("geheim" in str(c) for c in commands if isinstance(c, str))
    assert "geheim" not in commands[-1][0]


def test_groups_are_made_before_the_accounts_that_are_in_them() -> None:
    assert accounts(
        [User(name="ada", groups=["lab"])], [Group(name="lab", gid=300), Group(name="x")]
    ) == [
        show(noting("group", "lab", "x")),
        show(noting("account", "ada")),
        "groupadd --gid 300 lab",
        "groupadd x",
        "useradd --create-home --key HOME_MODE=0700 --shell /bin/bash --groups lab ada",
    ]


@pytest.mark.parametrize(
    "declared",
    [
        User(name="ada"),
        User(name="ada", uid=1000, shell="/bin/bash", groups=["lab"]),
        # The password that an account starts with; users change theirs.
        User(name="ada", password_hash=SecretStr("$6$another$one")),
    ],
)
def test_an_account_that_is_as_declared_stays(declared: User) -> None:
    assert (
        accounts([declared], [Group(name="lab", gid=7), Group(name="x")], ada=ADA, lab=7, x=8) == []
    )


def test_an_account_gains_groups_and_loses_none() -> None:
    assert accounts([User(name="ada", groups=["docker", "lab"])], ada=ADA) == [
        "usermod --append --groups docker ada"
    ]


def test_an_account_gets_another_shell_only_when_one_is_declared() -> None:
    assert accounts([User(name="ada", shell="/bin/zsh")], ada=ADA) == [
        "usermod --shell /bin/zsh ada"
    ]


def test_an_account_that_has_the_name_of_a_group_gets_it_for_its_own() -> None:
    # useradd would refuse to make another.
    assert accounts([User(name="ada")], [Group(name="ada")]) == [
        show(noting("group", "ada")),
        show(noting("account", "ada")),
        "groupadd ada",
        "useradd --create-home --key HOME_MODE=0700 --gid ada --shell /bin/bash ada",
    ]


def test_a_home_that_is_not_there_is_made() -> None:
    assert accounts([User(name="ada")], ada={**ADA, "has_home": False}) == [
        "mkhomedir_helper ada 0077"
    ]


def test_an_account_without_a_password_gets_its_first() -> None:
    ada = User(name="ada", password_hash=SecretStr("$6$a$b"))
    assert accounts([ada], ada={**ADA, "password": False}) == [
        ("chpasswd --encrypted", {"_stdin": "ada:$6$a$b"})
    ]


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        (
            {"users": [User(name="ada", uid=1001)], "groups": []},
            "account ada has uid 1000, not 1001.",
        ),
        ({"users": [], "groups": [Group(name="lab", gid=8)]}, "group lab has gid 7, not 8."),
    ],
)
def test_another_id_would_give_files_away(declared: dict[str, Any], says: str) -> None:
    there = {"users": {"ada": ADA}, "groups": {"lab": 7}}
    with pytest.raises(OperationError) as caught:
        plan(users.accounts, says=programs(accounts=there), **declared)
    assert str(caught.value) == says


def test_a_box_that_declares_nobody_is_not_asked() -> None:
    assert deployed(users.declare, Box()) == {}
    assert list(deployed(users.declare, Box(groups=[Group(name="lab")]))) == [
        "Users | Groups and accounts"
    ]
