"""The accounts of people, with what they log in with, as /etc has them."""

import os
import re

NOBODY = 65534
LOWEST_FREE_GID = 1000  # groups below are the system's: they are known by their names

# What a restore takes; jupyterbox/archives.py says the same of what comes out of an archive.
NAME = re.compile(r"[A-Za-z0-9_][^:,/\s\x00-\x1f]{0,255}")
HOME = re.compile(r"/(?!([^:\n\0]*/)?\.\.(/|\Z))[^:\n\0]*")
DAY = re.compile(r"(-?[0-9]{1,9})?")
ID = re.compile(r"[0-9]{1,10}")
HIGHEST = 2**32 - 2


def people(names, minimum_uid, etc, without=()):
    """People's accounts, and the groups that they are in.

    Args:
        names: accounts that are taken whatever their uid.
        minimum_uid: the lowest uid of people.
        etc: where passwd, group and shadow lie.
        without: accounts that are not.

    Returns:
        Users (name, uid, gid, group, comment, home, shell, password, aging), groups (name, gid,
        members), and a line for each that no restore could make, and that is left out.
    """
    secrets = {name: rest for name, *rest in lines(f"{etc}/shadow", 9)}
    groups, users, left = {}, {}, []
    for name, _, gid, members in lines(f"{etc}/group", 4):
        groups.setdefault(name, (number(gid), members))
    by_gid = {gid: name for name, (gid, _) in reversed(groups.items())}
    for name, _, uid, gid, comment, home, shell in lines(f"{etc}/passwd", 7):
        uid, gid = number(uid), number(gid)
        of_the_system = uid is not None and uid < minimum_uid and name not in names
        if name in without or uid in (0, NOBODY) or of_the_system:
            continue
        password, *aging = secrets.get(name, ["!"])
        user = {"name": name, "uid": uid, "gid": gid, "group": by_gid.get(gid, name)}
        user |= {"comment": as_text(comment), "home": home, "shell": shell}
        user |= {"password": password, "aging": aging[:6]}
        if why := "is there twice" if name in users else wrong_with(user):
            left.append(f"account {shown(name)}: {why}")
            continue
        users[name] = user
        # A file of groups that somebody has edited may lack it.
        groups.setdefault(by_gid.setdefault(gid, name), (gid, ""))
    taken = []
    for group in groups_of(set(users), {user["gid"] for user in users.values()}, groups):
        if NAME.fullmatch(group["name"]) and is_text(group["name"]) and group["gid"] is not None:
            taken.append(group)
        else:
            left.append(f"group {shown(group['name'])}: no restore could make one of that name")
    return list(users.values()), taken, left


def wrong_with(user):
    """Why no restore could make an account; nothing where it could."""
    for key, what in (("name", "its name"), ("group", "the name of its group")):
        if not NAME.fullmatch(user[key]):
            return f"{what}, {user[key]!r}, is no name"
    if not user["uid"] or user["gid"] is None:
        return "its ids are no numbers of people's"
    if not HOME.fullmatch(user["home"]):
        return f"its home, {user['home']!r}, is no path from the root"
    if not all(map(DAY.fullmatch, user["aging"])):
        return "the days of its password are no numbers"
    fields = ("name", "group", "home", "shell", "password")
    return "" if all(is_text(user[key]) for key in fields) else "it is not in UTF-8"


def groups_of(known, primary, groups):
    """The groups that an account is in, and those that people have made."""
    for name, (gid, members) in groups.items():
        inside = [member for member in members.split(",") if member in known]
        made = gid is not None and gid >= LOWEST_FREE_GID and gid != NOBODY
        if inside or made or gid in primary:
            yield {"name": name, "gid": gid, "members": inside}


def lines(path, fields):
    """The lines of such a file that have so many fields; `+` is a directory service's."""
    with open(path, errors="surrogateescape") as file:
        for line in file:
            found = line.rstrip("\n").split(":")
            if len(found) == fields and found[0] and found[0][0] not in "+-#":
                yield found


def number(text):
    """An id; None where it is none."""
    return int(text) if ID.fullmatch(text) and int(text) <= HIGHEST else None


def is_text(value):
    """Whether it is UTF-8, as all is that JSON can say."""
    return as_text(value) == value


def as_text(value):
    """What of it is UTF-8."""
    return value.encode(errors="surrogateescape").decode(errors="replace").replace("\0", "\ufffd")


def shown(name):
    """A name, in quotes where it is an odd one."""
    return name if NAME.fullmatch(name) and is_text(name) else repr(name)


def has_home(user):
    """Whether an account has a home that is its own."""
    try:
        return os.path.isdir(user["home"]) and os.stat(user["home"]).st_uid == user["uid"]
    except OSError:
        return False
