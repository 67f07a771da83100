"""The copies of the hub's database, and the one that lies ready to take its place.

`DATABASE.RELEASE` is as that release has left it, `DATABASE.for-RELEASE` takes the place of the
database when that release starts (prepare_database.py).
"""

import os
from contextlib import suppress
from datetime import datetime, timezone

from durable import sync
from schema import copy, revision, revisions


class NoCopy(Exception):
    """No copy is there that a release could be given."""


def waiting(database, release):
    """Where a copy lies ready for a release."""
    return f"{database}.for-{release}"


def lies_ready(database, release):
    """Whether one does."""
    return os.path.exists(waiting(database, release))


def too_new(database, prefix):
    """Whether a release does not know the schema that a database has."""
    has, (wanted, known) = revision(database), revisions(prefix)
    return None not in (has, wanted) and has != wanted and has not in known


def lay_newest(database, prefix):
    """Lay the newest copy ready whose schema a release wants; it keeps its time.

    Raises:
        NoCopy: there is none.
    """
    wanted, _ = revisions(prefix)
    found = [path for path in copies(database) if revision(path) == wanted]
    if not found:
        raise NoCopy
    # By its time, whoever has left it: it loses least.
    left, newest = max((os.stat(path).st_mtime_ns, path) for path in found)
    ready = waiting(database, os.path.basename(prefix))
    copy(newest, ready)
    os.utime(ready, ns=(left, left))
    sync(os.path.dirname(database))


def lay_own(database, release):
    """Lay the copy ready that a release has left; it needs no room on the disk.

    Raises:
        NoCopy: it has left none.
    """
    try:
        os.rename(f"{database}.{release}", waiting(database, release))
    except FileNotFoundError:
        raise NoCopy from None
    sync(os.path.dirname(database))


def put_away(database, release):
    """Have no copy lie ready for a release; one that is the only one gets its name back."""
    ready, own = waiting(database, release), f"{database}.{release}"
    with suppress(FileNotFoundError):
        if os.path.exists(own):
            os.unlink(ready)
        else:
            os.rename(ready, own)


def put_all_away(database):
    """Have none lie ready for anybody."""
    directory, name = os.path.split(waiting(database, ""))
    for other in os.listdir(directory):
        release = other.removeprefix(name)
        if release != other and "." not in release:
            put_away(database, release)


def moment(left):
    """A time in ns since the epoch, for people."""
    return datetime.fromtimestamp(left // 10**9, timezone.utc).isoformat(" ", "seconds")


def copies(database):
    """The copies of a database, each named after the release that had used it."""
    directory, name = os.path.split(database)
    for other in os.listdir(directory):
        release = other.removeprefix(f"{name}.")
        # Neither one that lies ready, nor what was not finished.
        unfinished = "." in release or release == "migrated" or release.startswith("for-")
        if release != other and not unfinished:
            yield os.path.join(directory, other)
