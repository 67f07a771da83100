"""Give a release of the hub a database that it understands, before it starts.

A part of every release, run by the hub's unit: whenever the box dies, what starts next starts so.
Arguments: the release's prefix (a link to it will do), the database's path.

A database of an older schema is copied, `DATABASE.RELEASE` being named after the release that it
was used by, and the migrated copy takes its place at one stroke. Where a rollback has laid one
ready, `DATABASE.for-RELEASE`, that one takes its place, and the other keeps that name: this needs
no room on the disk.
"""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

from old_releases import history
from schema import copy, place, revision, revisions, upgrade

JOURNALS = ("-journal", "-wal", "-shm")  # what a database's name ends in, where there are some


def prepare(prefix, database):
    """Bring the database to the release's schema; the usual one is as it shall be.

    Raises:
        subprocess.CalledProcessError: it could not be migrated; it is as it was.
        ValueError: it is of a release that this one does not know.
    """
    directory, release = os.path.split(os.path.realpath(prefix))
    waiting = f"{database}.for-{release}"
    left = next((name for name in history(directory)[::-1] if name != release), "before")
    if os.path.exists(waiting):
        if os.path.exists(database):
            keep(database, f"{database}.{left}")
        forget_journal(database)
        place(waiting, database)
        return
    has = revision(database)
    wanted, known = revisions(prefix)
    if has is None or wanted is None or has == wanted:
        return
    if has not in known:
        raise ValueError(f"{database} was used by a newer JupyterHub than that of {release}.")
    kept, migrated = f"{database}.{left}", f"{database}.migrated"
    copy(database, kept)
    copy(database, migrated)
    try:
        upgrade(prefix, migrated)
    except subprocess.CalledProcessError:
        os.unlink(migrated)
        raise
    forget_journal(database)
    place(migrated, database)
    print(f"{database} was migrated from {has} to {wanted}; as it was, it is {kept}", flush=True)


def keep(database, kept):
    """Give a database that is about to be replaced another name, too."""
    with closing(sqlite3.connect(database)) as connection:
        # Whoever reads it first brings it to what was written to its end.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    unfinished = f"{kept}.new"
    with suppress(FileNotFoundError):
        os.unlink(unfinished)
    try:
        if any(os.path.exists(database + ending) for ending in JOURNALS):
            raise OSError
        os.link(os.path.realpath(database), unfinished)
    except OSError:
        # Somebody else has it open, or the file system has one name for a file.
        copy(database, kept)
        return
    os.chmod(unfinished, 0o600)
    # When it was left; it may have been written to long ago.
    os.utime(unfinished)
    with suppress(FileNotFoundError):
        # A rename to another name of the same file does nothing.
        os.unlink(kept)
    os.rename(unfinished, kept)


def forget_journal(database):
    """Remove what a hub that died had not written to its end: the copy has it, or has undone it."""
    for ending in JOURNALS:
        if os.path.exists(database + ending):
            os.unlink(database + ending)


if __name__ == "__main__":
    try:
        prepare(*sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.stdout}\n{sys.argv[2]} cannot be migrated; it is as it was.")
    except (sqlite3.Error, OSError) as error:
        sys.exit(f"{sys.argv[2]} cannot be prepared: {error}.")
    except ValueError as error:
        sys.exit(str(error))
