"""The schema of the hub's database: which one it has, which one a release wants; copies of it."""

import glob
import os
import re
import sqlite3
import subprocess
from contextlib import closing, suppress

SCRIPTS = "lib/python3*/site-packages/jupyterhub/alembic/versions/*.py"
REVISION = re.compile(r"^(down_revision|revision)\b[^=]*=\s*(.+)$", re.MULTILINE)
NAME = re.compile(r"['\"]([0-9a-f]+)['\"]")


def revision(database):
    """The schema that a database has; None where it has none, or is not there."""
    if not os.path.isfile(database):
        return None
    try:
        with closing(sqlite3.connect(database)) as connection:
            [[found]] = connection.execute("SELECT version_num FROM alembic_version")
    except (sqlite3.Error, ValueError):
        # Whatever it is, the hub says what it makes of it.
        return None
    return found


def revisions(prefix):
    """The schema that a release wants, and all that it knows, from alembic's scripts."""
    known, overcome = set(), set()
    for path in glob.glob(os.path.join(prefix, SCRIPTS)):
        with open(path, errors="replace") as file:
            for what, names in REVISION.findall(file.read()):
                (known if what == "revision" else overcome).update(NAME.findall(names))
    return next(iter(known - overcome), None), known


def copy(source, target):
    """Copy a database at one moment, whoever writes to it; for root alone, whole or not at all."""
    unfinished = f"{target}.new"
    with suppress(FileNotFoundError):
        os.unlink(unfinished)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with (
            closing(sqlite3.connect(source)) as found,
            closing(sqlite3.connect(unfinished)) as made,
        ):
            found.backup(made)
    except sqlite3.Error:
        # The hub that goes on needs what is left of the disk.
        os.unlink(unfinished)
        raise
    place(unfinished, target)


def place(source, target):
    """Put a file into the place of another, on the disk before anybody relies on it."""
    directory = os.path.dirname(target)
    for path in (source, directory):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    os.rename(source, target)


def upgrade(prefix, database):
    """Bring a database, which nobody uses, to the schema of a release.

    Raises:
        subprocess.CalledProcessError: with what alembic says.
    """
    subprocess.run(
        [f"{prefix}/bin/python", "-I", "-c"]
        + ["import sys; from jupyterhub.dbutil import upgrade; upgrade(sys.argv[1])"]
        + [f"sqlite:///{database}"],
        # jupyterhub looks for alembic there.
        env={**os.environ, "PATH": f"{prefix}/bin:{os.environ.get('PATH', os.defpath)}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
