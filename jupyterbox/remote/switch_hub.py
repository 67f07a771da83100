"""Switch the hub to another release, and back again if it does not come up healthy with that.

Arguments: root, release, hub and proxy (names of units), database, url (of the health page),
timeout (seconds to wait for it), with_proxy (whether the proxy restarts in any case, and not only
for another one), restore (whether an older release gets back the database that it used: for a
rollback).

The rename of the link is the switch; whatever dies after it, the hub's unit starts the release that
the link names, with a database for it. A mark says that a switch was not seen to its end; mark,
history and copies are on the disk before the link is.
"""

import fcntl
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress

from durable import append, sync, write
from hub_copies import (
    NoCopy,
    lay_newest,
    lay_own,
    lies_ready,
    moment,
    put_all_away,
    put_away,
    too_new,
    waiting,
)
from hub_mark import LAID, TAKEN, Mark, forget, note, noted
from hub_releases import of_another_python
from old_releases import HISTORY, history, is_complete
from reading import Unreadable, read_json
from schema import revision, revisions
from units import running_release
from wait_for_hub import journal, wait


class Refused(Exception):
    """Why nothing was switched, in a sentence."""


def say(sentence):
    """Tell the operator, who may be gone; what was begun is finished."""
    with suppress(OSError):
        print(sentence, flush=True)


class Hub:
    """The hub on this box, as far as a switch is concerned."""

    def __init__(self, root, hub, proxy, database, url, timeout):
        self.root, self.releases = root, os.path.join(root, "releases")
        self.hub, self.proxy = hub, proxy
        self.database, self.url, self.timeout = database, url, timeout

    def prefix(self, release):
        """Where a release lies."""
        return os.path.join(self.releases, release)

    def current(self):
        """The release that the link names; None for none."""
        link = os.path.join(self.root, "current")
        return os.path.basename(os.readlink(link)) if os.path.islink(link) else None

    def leave(self):
        """Note the release that is about to be left, for who goes back."""
        if left := self.current():
            append(os.path.join(self.releases, HISTORY), left)

    def point(self, release):
        """Point the link at a release."""
        new = os.path.join(self.root, ".current.new")
        with suppress(FileNotFoundError):
            os.unlink(new)
        os.symlink(f"releases/{release}", new)
        os.rename(new, os.path.join(self.root, "current"))
        sync(self.root)

    def runs(self, release, with_proxy=False):
        """Restart what shall run another release; why that does not answer, None if it does."""
        units = [self.hub]
        if with_proxy or proxy_of(self.prefix(release)) != self.running_proxy():
            units.insert(0, self.proxy)
        for unit in units:
            systemctl("reset-failed", unit)
            if systemctl("restart", unit):
                return f"{unit} does not start."
        return wait(self.url, [self.hub, self.proxy], self.timeout)

    def running_proxy(self):
        """What the proxy that runs is made of; None where nobody can say."""
        release = running_release(shown(self.proxy, "MainPID"))
        return proxy_of(self.prefix(release)) if release else None

    def answers_on(self, release):
        """Whether the hub runs a release, and is well."""
        return (
            self.current() == release
            and running_release(shown(self.hub, "MainPID")) == release
            and wait(self.url, [self.hub, self.proxy], 0) is None
        )


def for_root_alone(path, flags):
    """Open a file that nobody else can: whoever can read it can lock it."""
    return os.open(path, flags, 0o600)


def proxy_of(prefix):
    """The digest of a release's node and proxy; None where it has none."""
    return recorded(prefix, "proxy")


def recorded(prefix, what):
    """What a release's record says of something; None for nothing."""
    try:
        return read_json(os.path.join(prefix, "release.json")).get(what)
    except (Unreadable, AttributeError):
        return None


def systemctl(*arguments):
    """Call systemctl; its status."""
    return subprocess.run(
        ["systemctl", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ).returncode


def shown(unit, name):
    """A property of a unit."""
    command = ["systemctl", "show", "-P", name, unit]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip()


def check(hub, release, restore):
    """Refuse a release that the hub cannot be switched to."""
    if not is_complete(hub.releases, release):
        raise Refused(f"there is no release {release} in {hub.releases}.")
    if not restore and not resumes(hub, release) and too_new(hub.database, hub.prefix(release)):
        raise Refused(
            f"release {release} has an older JupyterHub than the one that used {hub.database}: "
            f"tasks/rollback.py goes back to it, with a copy of the database from then."
        )


def resumes(hub, release):
    """Whether a run has died that had laid a copy ready, and switched, and not started the hub."""
    return hub.current() == release and lies_ready(hub.database, release)


def interrupted(hub):
    """The mark of a switch that was not seen to its end; None where its hub is well by now."""
    mark = noted(hub.releases, hub.current())
    return None if mark and hub.answers_on(hub.current()) else mark


def taken(hub, mark):
    """Whether a copy has taken the place of the database that the release before used."""
    if not mark or mark.copy != LAID:
        return bool(mark) and mark.copy == TAKEN
    return hub.current() == mark.target and not lies_ready(hub.database, mark.target)


def lay_ready(hub, release, mark, restore):
    """Lay the database ready that a release shall have, if it is not the one that is there.

    Returns:
        When that was left, in ns since the epoch; None for the one that is there.

    Raises:
        Refused: there is none that it would understand.
    """
    ready = waiting(hub.database, release)
    if not resumes(hub, release):
        put_away(hub.database, release)
        try:
            if mark and mark.before == release and taken(hub, mark):
                lay_own(hub.database, release)
            elif restore and too_new(hub.database, hub.prefix(release)):
                lay_newest(hub.database, hub.prefix(release))
        except NoCopy:
            raise Refused(
                f"release {release} is older than the database {hub.database}, and there is no "
                "copy of that from before: the hub was left as it is."
            ) from None
    return os.stat(ready).st_mtime_ns if os.path.exists(ready) else None


def begin(hub, release, mark, restore, laid):
    """Note where a switch starts from; the mark."""
    # One that was interrupted started from a release that ran; unless it is the one to go to.
    before = mark.before if mark and mark.before != release else hub.current()
    fate = LAID if laid else TAKEN if taken(hub, mark) else None
    begun = Mark(before, release if restore or laid else None, fate)
    note(hub.releases, begun)
    return begun


def switch(hub, release, with_proxy, restore):
    """Switch; back if the hub does not answer then.

    Raises:
        Refused: it could not be; the hub runs what it ran before.
    """
    started = time.monotonic()
    mark = interrupted(hub)
    restore = restore or (bool(mark) and mark.target == release)
    check(hub, release, restore)
    laid = lay_ready(hub, release, mark, restore)
    mark, past = begin(hub, release, mark, restore, laid), history(hub.releases)
    problem = None
    if with_proxy or not hub.answers_on(release):
        if hub.current() != release:
            hub.leave()
            hub.point(release)
        problem = hub.runs(release, with_proxy)
    if problem:
        said = journals(hub)
        raise Refused(f"{said}{problem} {back(hub, release, mark, past, laid)}")
    put_all_away(hub.database)
    forget(hub.releases)
    say(f"the hub answers, on release {release} ({time.monotonic() - started:.1f} s)")
    if laid:
        say(
            f"the database is that of {moment(laid)} again: users, tokens, groups and shares that "
            f"were made since are lost. The newer one is kept as {hub.database}.{mark.before}."
        )


def back(hub, release, mark, past, laid):
    """Return to the release that ran before, with its database; a sentence about that."""
    before = mark.before
    if before in (None, release) or dead(hub.prefix(before)):
        forget(hub.releases)
        return "There is no release before it to go back to."
    try:
        lays = lay_back(hub, before, mark)
    except NoCopy:
        forget(hub.releases)
        return f"It stays there: there is no copy of the database that release {before} used."
    except (sqlite3.Error, OSError) as error:
        return f"It stays there: the database of release {before} cannot be laid ready ({error})."
    with suppress(OSError):
        # A disk that is full is no reason not to go back.
        hub.leave()
    hub.point(before)
    problem = hub.runs(before)
    with suppress(OSError):
        if laid and lays:
            # What was put aside is as old as the copy that it was made from.
            os.utime(f"{hub.database}.{release}", ns=(laid, laid))
        write(os.path.join(hub.releases, HISTORY), "".join(f"{name}\n" for name in past))
    forget(hub.releases)
    if problem:
        return f"Neither does it on release {before}, which it was switched back to: {problem}"
    own = f" with its database of {moment(lays)}," if lays else ""
    return f"It was switched back to release {before},{own} and answers again."


def dead(prefix):
    """Whether a release has lost the Python that it was built on."""
    python = recorded(prefix, "python")
    return bool(of_another_python(python)) or not os.path.exists(f"{prefix}/bin/python")


def lay_back(hub, before, mark):
    """Lay the database ready that the release before has left, if that is not the one there.

    Returns:
        When it was left, in ns since the epoch; None for the one that is there.

    Raises:
        NoCopy, sqlite3.Error, OSError: it cannot be.
    """
    ready, own = waiting(hub.database, before), f"{hub.database}.{before}"
    put_away(hub.database, before)
    if taken(hub, mark):
        # Whatever the release knows: this is not the database that it has left.
        lay_own(hub.database, before)
    elif too_new(hub.database, hub.prefix(before)):
        if revision(own) == revisions(hub.prefix(before))[0]:
            lay_own(hub.database, before)
        else:
            lay_newest(hub.database, hub.prefix(before))
    return os.stat(ready).st_mtime_ns if os.path.exists(ready) else None


def journals(hub):
    """What the units said at last."""
    units = (hub.proxy, hub.hub)
    return "".join(f"--- {unit}, last lines of its journal:\n{journal(unit)}\n" for unit in units)


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    how = {name: arguments.pop(name) for name in ("release", "with_proxy", "restore")}
    os.umask(0o022)
    hub = Hub(**arguments)
    try:
        # One that has lost its connection still sees to the end of what it has begun.
        with open(os.path.join(hub.releases, ".switch.lock"), "w", opener=for_root_alone) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            switch(hub, **how)
    except Refused as refused:
        sys.exit(str(refused))
    except sqlite3.Error as error:
        sys.exit(f"{hub.database} cannot be copied: {error}. The hub was left as it is.")
    except OSError as error:
        sys.exit(f"{error.filename or hub.releases}: {error.strerror}.")
