"""The program that reads accounts, on the accounts of this machine."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from tests.unit.remote import answered, call, module

accounts = module("accounts")


def test_root_and_nobody_as_this_machine_has_them() -> None:
    found = accounts.account("root", {"root": False})
    assert found == {
        "uid": 0,
        "shell": pwd.getpwnam("root").pw_shell,
        "home": "/root",
        "has_home": os.path.isdir("/root"),
        "groups": sorted(grp.getgrgid(gid).gr_name for gid in os.getgrouplist("root", 0)),
        "password": False,
    }


def test_an_account_and_a_group_that_are_not_there() -> None:
    assert accounts.account("no-such-account", {}) is None
    assert accounts.group("no-such-group") is None
    assert accounts.group(grp.getgrgid(0).gr_name) == 0


def test_an_account_of_a_directory_service_has_its_password_there() -> None:
    assert accounts.account("root", {})["password"] is True


def test_a_group_without_a_name_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    nameless = 4_000_000_000
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [0, nameless])
    assert accounts.account("root", {})["groups"] == [grp.getgrgid(0).gr_name]


@pytest.mark.parametrize(
    ("secret", "has_one"),
    [
        ("", False),
        ("*", False),
        ("!", False),
        ("!!", False),
        ("!*", False),
        ("$6$a$b", True),
        ("!$6$a$b", True),
        ("!!$6$a$b", True),
    ],
)
def test_a_locked_password_is_one(
    secret: str, has_one: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    shadow = os.path.join(tmp_path, "shadow")
    with open(shadow, "w") as file:
        file.write(f"ada:{secret}:20000:0:99999:7:::\n")
    opened = open
    monkeypatch.setattr(
        accounts,
        "open",
        lambda path: opened(shadow if path == "/etc/shadow" else path),
        raising=False,
    )
    assert accounts.passwords() == {"ada": has_one}


def test_without_root_it_says_so() -> None:
    if os.geteuid() != 0:
        done = call("accounts", users=[], groups=[])
    else:
        done = call("accounts", users=[], groups=[], as_user=65534)
    assert done.returncode == 1
    assert done.stderr == (
        "the accounts' passwords can only be read by root: run this fact with _sudo=true.\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="passwords are root's to read")
def test_what_is_asked_for_is_answered() -> None:
    found = answered("accounts", users=["root", "no-such-account"], groups=["no-such-group"])
    assert found["users"]["root"]["uid"] == 0
    assert found["users"]["no-such-account"] is None
    assert found["groups"] == {"no-such-group": None}
