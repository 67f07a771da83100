"""Print what a restore needs to know of the box as JSON.

Arguments: database, users (accounts of the archive), homes (where theirs were).
"""

import grp
import hashlib
import json
import os
import pwd
import sys

from answering import answer, need_root
from homes import look_into
from hub_database import people
from reading import Unreadable


def homes(paths):
    """Whose homes are, and the room that there is for them; why one cannot be looked at."""
    answers, skipped = look_into([(path, 0, 0, path) for path in paths], home)
    unknown = {"owner": None, "device": None, "free_mb": 0}
    found = {path: {**answer, "problem": None} for path, answer in answers.items()}
    return {**found, **{path: {**unknown, "problem": why} for path, why in skipped.items()}}


def home(path):
    """Whose a home is, and the room that there is for it; the nearest directory that is there."""
    try:
        owner = os.stat(path).st_uid
    except OSError:
        owner = None
    parent = os.path.dirname(path.rstrip("/"))
    if not os.path.isdir(parent):
        return {"owner": owner, "device": None, "free_mb": 0}
    found = os.statvfs(parent)
    free = found.f_bavail * found.f_frsize >> 20
    return {"owner": owner, "device": str(os.stat(parent).st_dev), "free_mb": free}


def database(path):
    """The users in the hub's database, and its sha256; None where it is not there."""
    if not os.path.isfile(path):
        return None
    sha256 = hashlib.sha256()
    with open(path, "rb") as file:
        while content := file.read(1 << 20):
            sha256.update(content)
    try:
        users = sorted(people(path)[0])
    except Unreadable:
        users = None
    return {"users": users, "sha256": sha256.hexdigest()}


def accounts(names):
    """All accounts by name, also those that a directory service does not list."""
    found = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in names:
        try:
            found[name] = pwd.getpwnam(name)
        except KeyError:
            continue
    return {
        name: {"uid": entry.pw_uid, "gid": entry.pw_gid, "home": entry.pw_dir}
        for name, entry in found.items()
    }


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    need_root("The hub's state")
    answer(
        {
            "accounts": accounts(arguments["users"]),
            "groups": {entry.gr_name: entry.gr_gid for entry in grp.getgrall()},
            "homes": homes(arguments["homes"]),
            "database": database(arguments["database"]),
        }
    )
