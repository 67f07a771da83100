"""The accounts of people, with what they log in with, as /etc has them."""

import os

NOBODY = 65534
LOWEST_FREE_GID = 1000  # groups below are the system's: they are known by their names


def people(names, minimum_uid, etc, without=()):
    """People's accounts, and the groups that they are in.

    Args:
        names: accounts that are taken whatever their uid.
        minimum_uid: the lowest uid of people.
        etc: where passwd, group and shadow lie.
        without: accounts that are not.

    Returns:
        Users (name, uid, gid, group, comment, home, shell, password, aging) and groups (name, gid,
        members).
    """
    secrets = {name: rest for name, *rest in lines(f"{etc}/shadow", 9)}
    groups = {name: (int(gid), members) for name, _, gid, members in lines(f"{etc}/group", 4)}
    by_gid = {gid: name for name, (gid, _) in reversed(groups.items())}
    users = []
    for name, _, uid, gid, comment, home, shell in lines(f"{etc}/passwd", 7):
        uid, gid = int(uid), int(gid)
        if name in without or uid in (0, NOBODY) or not (uid >= minimum_uid or name in names):
            continue
        password, *aging = secrets.get(name, ["!"])
        group = by_gid.setdefault(gid, name)
        # A file of groups that somebody has edited may lack it.
        groups.setdefault(group, (gid, ""))
        user = {"name": name, "uid": uid, "gid": gid, "group": group}
        user |= {"comment": comment, "home": home, "shell": shell}
        users.append({**user, "password": password, "aging": aging[:6]})
    known = {user["name"] for user in users}
    return users, list(groups_of(known, {user["gid"] for user in users}, groups))


def groups_of(known, primary, groups):
    """The groups that an account is in, and those that people have made."""
    for name, (gid, members) in groups.items():
        inside = [member for member in members.split(",") if member in known]
        if inside or gid in primary or (gid >= LOWEST_FREE_GID and gid != NOBODY):
            yield {"name": name, "gid": gid, "members": inside}


def lines(path, fields):
    """The lines of such a file that have so many fields; `+` is a directory service's."""
    with open(path, errors="surrogateescape") as file:
        for line in file:
            found = line.rstrip("\n").split(":")
            if len(found) == fields and found[0] and found[0][0] not in "+-#":
                yield found


def has_home(user):
    """Whether an account has a home that is its own."""
    try:
        return os.path.isdir(user["home"]) and os.stat(user["home"]).st_uid == user["uid"]
    except OSError:
        return False
