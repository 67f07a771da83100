"""Print some accounts and groups of the box as JSON. Arguments: users, groups (names)."""

import grp
import json
import os
import pwd
import sys


def passwords():
    """Which local accounts have a password, or had one and are locked; needs root."""
    try:
        with open("/etc/shadow") as file:
            fields = (line.split(":") for line in file)
            return {name: secret.strip("!*") != "" for name, secret, *_ in fields}
    except PermissionError:
        sys.exit("the accounts' passwords can only be read by root: run this fact with _sudo=true.")


def account(name, known):
    """One account as it is; None where there is none."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return {
        "uid": entry.pw_uid,
        "shell": entry.pw_shell,
        "home": entry.pw_dir,
        "has_home": os.path.isdir(entry.pw_dir),
        "groups": sorted(
            grp.getgrgid(gid).gr_name
            for gid in os.getgrouplist(name, entry.pw_gid)
            if has_name(gid)
        ),
        # An account from a directory service keeps its password there.
        "password": known.get(name, True),
    }


def has_name(gid):
    """Whether a gid belongs to a group: getgrouplist also returns those that do not."""
    try:
        return bool(grp.getgrgid(gid))
    except KeyError:
        return False


def group(name):
    """A group's gid; None where there is none."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    known = passwords()
    print(
        json.dumps(
            {
                "users": {name: account(name, known) for name in arguments["users"]},
                "groups": {name: group(name) for name in arguments["groups"]},
            }
        )
    )
