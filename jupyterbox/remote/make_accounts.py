"""Make people's accounts as they were on another box: same ids, same passwords."""

import grp
import os
import pwd
import subprocess

from homes import look_into
from people import LOWEST_FREE_GID

AGING = ("--lastday", "--mindays", "--maxdays", "--warndays", "--inactive", "--expiredate")


class Failure(Exception):
    """What could not be made, as a sentence."""


def run(*command, given=None):
    """Run a command of the system's.

    Raises:
        Failure: with what it said.
    """
    done = subprocess.run(
        command,
        input=given,
        stdin=None if given is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        said = done.stdout.strip().splitlines()
        raise Failure(f"{' '.join(command)}: {said[-1] if said else done.returncode}")


def make_accounts(users, groups, kept, note):
    """Make the groups and accounts that are missing; give all of them what they had.

    Args:
        users, groups: as people.people returns them.
        kept: an account whose password and home stay as they are: who runs this logs in with it.
        note: is told a kind and a name before one is made.

    Returns:
        A line for each home that does not answer.
    """
    for group, ids in with_shared_ids(groups, "gid"):
        make_group(group["name"], group["gid"], ids, note)
    for user, ids in with_shared_ids(users, "uid"):
        make_account(user, ids, note)
    for group in groups:
        for member in group["members"]:
            run("usermod", "--append", "--groups", group["name"], member)
    notes = []
    for user in users:
        if user["name"] != kept:
            give_password(user)
        notes += make_home(user)
    return notes


def with_shared_ids(entries, key):
    """Each with what it takes to make it: where they came from, some may have shared an id."""
    seen = set()
    for entry in entries:
        yield entry, ["--non-unique"] if entry[key] in seen else []
        seen.add(entry[key])


def make_group(name, gid, ids, note):
    """Make a group, if it is missing; one of the system's may have another gid here."""
    if exists(grp.getgrnam, name):
        return
    note("group", name)
    of_the_system = gid < LOWEST_FREE_GID
    if of_the_system and exists(grp.getgrgid, gid):
        run("groupadd", "--system", name)
    else:
        run("groupadd", "--gid", str(gid), *ids, name)


def make_account(user, ids, note):
    """Make an account, if it is missing."""
    name, shell = user["name"], ["--shell", user["shell"] or "/bin/sh"]
    if exists(pwd.getpwnam, name):
        if pwd.getpwnam(name).pw_shell != user["shell"]:
            run("usermod", *shell, name)
        return
    note("account", name)
    group = user["group"] or str(user["gid"])
    run(
        *("useradd", "--uid", str(user["uid"]), *ids, "--gid", group, "--no-user-group", *shell),
        *("--home-dir", user["home"], "--no-create-home", "--comment", user["comment"], name),
    )


def as_here(user):
    """An account with the group that is its own here: of the system's, the names count."""
    for look_up, key, field in (
        (pwd.getpwnam, user["name"], "pw_gid"),
        (grp.getgrnam, user["group"], "gr_gid"),
    ):
        if exists(look_up, key):
            return {**user, "gid": getattr(look_up(key), field)}
    return user


def give_password(user):
    """Give an account the password that it had, and the days on which it changes or expires."""
    if user["password"]:
        # Through standard input: an argument would stand in the process list.
        run("chpasswd", "--encrypted", given=f"{user['name']}:{user['password']}\n")
    # Only then: chpasswd says that it has been changed today.
    days = [
        part
        for option, day in zip(AGING, user["aging"], strict=False)
        for part in (option, day or "-1")
    ]
    run("chage", *days, user["name"])


def make_home(user):
    """Make the home of an account that has none, where its disk is there; what is not known."""
    answers, skipped = look_into([(user["name"], 0, 0, user["home"])], can_be_made)
    if answers.get(user["name"]):
        run("mkhomedir_helper", user["name"], "0077")
    return list(skipped.values())


def can_be_made(home):
    """Whether there is no such home, and a place for it."""
    return not os.path.lexists(home) and os.path.isdir(os.path.dirname(home.rstrip("/")))


def exists(look_up, key):
    """Whether the system knows a name or an id."""
    try:
        look_up(key)
    except KeyError:
        return False
    return True
