"""Print a backup of the hub as an archive, while it runs.

Arguments: state_dir, database, secrets, configuration (a file and the directory of those that are
read after it), drop_ins (directories), root, conda_root, etc, accounts (taken whatever their uid),
minimum_uid, without (accounts that are not taken), homes (whether to take them), about (for the
manifest).
"""

import json
import os
import shutil
import socket
import sqlite3
import stat
import sys
from contextlib import closing
from datetime import datetime, timezone

from archive import ACCOUNTS, CONFIGURATION, DATABASE, DROP_INS, HOMES, SECRETS, Writer
from homes import look_into
from hub_releases import current, installed
from people import as_text, is_text, people
from reading import Unreadable, entries, read
from tar import packed

LOCK_FILES = ("release.json", "requirements.txt", "proxy/package.json", "proxy/package-lock.json")
LIMIT = 16 << 20  # bytes of a file of configuration, or of a lock
ACCOUNT = ("name", "uid", "gid", "home")  # as homes.py takes one


class Failure(Exception):
    """Why there is no backup, as a sentence."""


def snapshot(database, directory):
    """Copy the database at one moment, whoever writes to it; the copy's path.

    Raises:
        Failure: it cannot be read.
    """
    target = os.path.join(directory, "database")
    try:
        # Not made where it is missing.
        source = sqlite3.connect(f"file:{database}?mode=rw", uri=True)
        with closing(source), closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
            [[said]] = copy.execute("PRAGMA quick_check(1)")
    except sqlite3.Error as error:
        raise Failure(f"The hub's database {database} cannot be read: {error}.") from None
    if said != "ok":
        raise Failure(f"The hub's database {database} is damaged: {said}.")
    return target


def add_file(writer, name, path):
    """Add a file, if it is there.

    Raises:
        Failure: it is there and cannot be read.
    """
    try:
        writer.add(name, read(path, LIMIT), mode_of(path))
    except Unreadable as reason:
        if os.path.lexists(path):
            raise Failure(f"{path} {reason}.") from None


def mode_of(path):
    """A file's mode, without what it lets others do."""
    return os.stat(path).st_mode & 0o755


def add_tree(writer, name, directory):
    """Add the files below a directory; what else is there is left out, and a line is yielded.

    A link leads elsewhere, and what it leads to would not be on another box.
    """
    for where, directories, files in os.walk(directory):
        links = [d for d in directories if os.path.islink(os.path.join(where, d))]
        directories[:] = sorted(d for d in directories if d != "__pycache__" and d not in links)
        for file in sorted([*files, *links]):
            path = os.path.join(where, file)
            why = odd(path)
            try:
                if not why:
                    add_file(writer, name + os.path.relpath(path, directory), path)
            except ValueError as error:
                why = f"cannot be in an archive ({error})"
            if why:
                yield f"{as_text(path)} {why}"


def odd(path):
    """Why something is no file that can be put back elsewhere, as the end of a sentence."""
    if os.path.islink(path):
        return f"is a link to {os.readlink(path)!r}"
    if not os.path.isfile(path):
        return "is no file"
    return None if is_text(path) else "has a name that is not UTF-8"


def add_locks(writer, root, conda_root):
    """Add what the current releases of the hub and of the environments hold."""
    for file in LOCK_FILES:
        add_file(writer, f"locks/hub/{file}", os.path.join(root, "current", file))
    try:
        names = entries(os.path.join(conda_root, "envs"))
    except Unreadable:
        names = []
    for name in names:
        path = os.path.join(conda_root, "envs", name, "release.json")
        add_file(writer, f"locks/environments/{name}.json", path)


def add_homes(writer, users):
    """Add the homes of people.

    Returns:
        By account where each was and what could not be read in it; and of each that did not answer,
        or is not whole, a line.
    """
    found, taken, failed = {}, set(), []
    for user in users:
        answers, skipped = look_into([[user[key] for key in ACCOUNT]], own)
        failed += skipped.values()
        place, owner = answers.get(user["name"], (None, None))
        if place is None or owner != user["uid"] or place in taken:
            continue
        taken.add(place)
        size = 0
        with packed(user) as (chunks, outcome):
            for number, chunk in enumerate(chunks):
                writer.add(f"{HOMES}{user['name']}/{number:08}", chunk)
                size += len(chunk)
        found[user["name"]] = {"home": user["home"], "size": size, "notes": outcome.notes}
        if not outcome.whole:
            failed.append(f"{user['home']}: {outcome.notes[-1]}")
    return found, failed


def own(home):
    """Where a home really is, and whose; nothing where there is none."""
    try:
        found = os.stat(home)
        return [os.path.realpath(home), found.st_uid] if stat.S_ISDIR(found.st_mode) else [None, 0]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return [None, 0]


def write(target, directory, arguments):
    """Write the archive, using a directory that is root's alone."""
    database = snapshot(arguments["database"], directory)
    users, groups, notes = people(
        arguments["accounts"], arguments["minimum_uid"], arguments["etc"], arguments["without"]
    )
    writer = Writer(target)
    writer.add(ACCOUNTS, json.dumps({"users": users, "groups": groups}, indent=1).encode())
    with open(database, "rb") as file:
        writer.add_from(DATABASE, file, os.stat(database).st_size)
    for name, path in zip(SECRETS, arguments["secrets"], strict=True):
        add_file(writer, name, path)
    file, more = arguments["configuration"]
    add_file(writer, CONFIGURATION + os.path.basename(file), file)
    notes += add_tree(writer, f"{CONFIGURATION}{os.path.basename(more)}/", more)
    for path in arguments["drop_ins"]:
        notes += add_tree(writer, f"{DROP_INS}{os.path.basename(path)}/", path)
    add_locks(writer, arguments["root"], arguments["conda_root"])
    homes, failed = add_homes(writer, users) if arguments["homes"] else (None, [])
    about = {**arguments["about"], **about_hub(arguments["root"]), "homes": homes}
    writer.close({**about, "notes": notes, "failed": failed})


def about_hub(root):
    """What the manifest says of the hub, and of the box."""
    release = current(root)
    version = installed(os.path.join(root, "current")).get("jupyterhub")
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {
        "hub": {"release": release, "version": version},
        "hostname": socket.gethostname(),
        "made": made,
    }


if __name__ == "__main__":
    os.umask(0o077)
    arguments = json.loads(sys.argv[1])
    directory = os.path.join(arguments["state_dir"], ".backup")
    try:
        # One that was killed may have left its copy there.
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory, 0o700)
        write(sys.stdout.buffer, directory, arguments)
        sys.stdout.flush()
    except Failure as failure:
        sys.exit(str(failure))
    except BrokenPipeError:
        # Who keeps the archive has ended, and says why.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except (OSError, ValueError) as error:
        sys.exit(f"There is no backup: {error}.")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
