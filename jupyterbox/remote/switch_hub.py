"""Switch the hub to another release, and back again if it does not come up healthy with that.

Arguments: root, release, hub and proxy (names of units), database, url (of the health page),
timeout (seconds to wait for it), with_proxy (whether the proxy restarts in any case, and not only
for another one), restore (whether an older release gets back the database that it used: for a
rollback).

The rename of the link is the switch; whatever dies after it, the hub's unit starts the release that
the link names, with a database for it. A mark says that a switch was not seen to its end.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime, timezone

from old_releases import HISTORY, history, is_complete
from reading import Unreadable, read_json
from schema import copy, revision, revisions
from units import running_release
from wait_for_hub import journal, wait

MARK = ".switching"  # in the directory of releases: the one that a switch has started from


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
        self.mark = os.path.join(self.releases, MARK)

    def prefix(self, release):
        """Where a release lies."""
        return os.path.join(self.releases, release)

    def current(self):
        """The release that the link names; None for none."""
        link = os.path.join(self.root, "current")
        return os.path.basename(os.readlink(link)) if os.path.islink(link) else None

    def point(self, release):
        """Point the link at a release, noting the one that it leaves."""
        left = self.current()
        if left == release:
            return
        if left:
            with open(os.path.join(self.releases, HISTORY), "a") as file:
                file.write(f"{left}\n")
        write(os.path.join(self.root, ".current.new"), f"releases/{release}")
        os.rename(f"{self.root}/.current.new", f"{self.root}/current")

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


def write(link, target):
    """Make a link anew."""
    with suppress(FileNotFoundError):
        os.unlink(link)
    os.symlink(target, link)


def proxy_of(prefix):
    """The digest of a release's node and proxy; None where it has none."""
    try:
        return read_json(os.path.join(prefix, "release.json")).get("proxy")
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


def lay_ready(hub, release):
    """Lay the database ready that an older release used; a sentence on what that loses.

    Raises:
        Refused: there is no copy that it would understand.
    """
    waiting = f"{hub.database}.for-{release}"
    forget(waiting)
    has, (wanted, known) = revision(hub.database), revisions(hub.prefix(release))
    if has is None or wanted is None or has == wanted or has in known:
        return None
    copies = [path for path in copies_of(hub.database) if revision(path) == wanted]
    if not copies:
        raise Refused(
            f"release {release} is older than the database {hub.database}, and there is no copy "
            "of that from before: the hub was left as it is."
        )
    best = max(
        copies, key=lambda path: (path == f"{hub.database}.{release}", os.stat(path).st_mtime)
    )
    copy(best, waiting)
    made = datetime.fromtimestamp(os.stat(best).st_mtime, timezone.utc).isoformat(" ", "seconds")
    return (
        f"the database is that of {made} again, as release {release} had left it: users, tokens, "
        f"groups and shares that were made since are lost. The newer one is kept as "
        f"{hub.database}.{hub.current()}."
    )


def copies_of(database):
    """The copies of a database, each named after the release that had used it."""
    directory, name = os.path.split(database)
    for other in os.listdir(directory):
        release = other.removeprefix(f"{name}.")
        # Neither one that lies ready, nor what was not finished.
        unfinished = "." in release or release == "migrated" or release.startswith("for-")
        if release != other and not unfinished:
            yield os.path.join(directory, other)


def forget(path):
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def check(hub, release, restore):
    """Refuse a release that the hub cannot be switched to."""
    if not is_complete(hub.releases, release):
        raise Refused(f"there is no release {release} in {hub.releases}.")
    has, (wanted, known) = revision(hub.database), revisions(hub.prefix(release))
    if not restore and has and wanted and has not in known:
        raise Refused(
            f"release {release} has an older JupyterHub than the one that used {hub.database}: "
            f"tasks/rollback.py goes back to it, with a copy of the database from then."
        )


def begin(hub):
    """Note where a switch starts from, if that is not noted yet; the release."""
    with suppress(OSError), open(hub.mark) as file:
        if (before := file.read().strip()) and is_complete(hub.releases, before):
            return before
    before = hub.current()
    with open(f"{hub.mark}.new", "w") as file:
        file.write(f"{before}\n")
    os.rename(f"{hub.mark}.new", hub.mark)
    return before


def switch(hub, release, with_proxy, restore):
    """Switch; back if the hub does not answer then.

    Raises:
        Refused: it could not be; the hub runs what it ran before.
    """
    started = time.monotonic()
    check(hub, release, restore)
    loses = lay_ready(hub, release) if restore else forget(f"{hub.database}.for-{release}")
    before, past = begin(hub), history(hub.releases)
    problem = None
    if with_proxy or not hub.answers_on(release):
        hub.point(release)
        problem = hub.runs(release, with_proxy)
    if problem:
        said = journals(hub)
        raise Refused(f"{said}{problem} {back(hub, release, before, past)}")
    forget(hub.mark)
    say(f"the hub answers, on release {release} ({time.monotonic() - started:.1f} s)")
    if loses:
        say(loses)


def back(hub, release, before, past):
    """Return to the release that ran before, with its database; a sentence about that."""
    if before in (None, release) or not os.path.exists(f"{hub.prefix(before)}/bin/python"):
        return "There is no release before it to go back to."
    try:
        lay_ready(hub, before)
    except Refused as refused:
        return f"It stays there: {refused}"
    hub.point(before)
    problem = hub.runs(before)
    with open(f"{hub.releases}/{HISTORY}.new", "w") as file:
        file.write("".join(f"{name}\n" for name in past))
    os.rename(f"{hub.releases}/{HISTORY}.new", f"{hub.releases}/{HISTORY}")
    forget(hub.mark)
    if problem:
        return f"Neither does it on release {before}, which it was switched back to: {problem}"
    return f"It was switched back to release {before}, and answers again."


def journals(hub):
    """What the units said at last."""
    units = (hub.proxy, hub.hub)
    return "".join(f"--- {unit}, last lines of its journal:\n{journal(unit)}\n" for unit in units)


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    how = {name: arguments.pop(name) for name in ("release", "with_proxy", "restore")}
    os.umask(0o022)
    try:
        hub = Hub(**arguments)
        # One that has lost its connection still sees to the end of what it has begun.
        with open(os.path.join(hub.releases, ".switch.lock"), "w", opener=for_root_alone) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            switch(hub, **how)
    except Refused as refused:
        sys.exit(str(refused))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}.")
