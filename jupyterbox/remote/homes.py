"""Look into accounts' homes, each as its owner and none for longer than it may take.

A home may lie on a server that is gone: whoever looks into it then hangs, and cannot even be
killed. So a process of its own looks, for each file system, and is left behind if need be. It looks
as the home's owner, since root is nobody on many file servers, and so that no link that a user has
made there leads to where only root can look.
"""

import json
import os
import pwd
import re
import select
import signal
import time
import zlib
from contextlib import suppress
from functools import cache

from mountinfo import mounts

TIMEOUT = 2.0  # seconds for one home
PATIENCE = 6.0  # seconds for all of them


class Probe:
    """A process that looks into some homes, one after the other."""

    def __init__(self, homes, question):
        """Start it; homes are (name, uid, gid, home), all on one file system."""
        self.left, self.buffer, self.since = list(homes), b"", time.monotonic()
        self.ended = False
        self.answers, self.reasons = {}, {}
        self.file, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.file)
                look(homes, question, write_end)
            finally:
                os._exit(0)
        os.close(write_end)

    def listen(self):
        """Take in what it has found, or that it has ended."""
        more = os.read(self.file, 1 << 20)
        self.ended = not more
        *lines, self.buffer = (self.buffer + more).split(b"\n")
        for line in lines:
            name, value, reason = json.loads(line)
            if reason is None:
                self.answers[name] = value
            else:
                self.reasons[name] = reason
            self.left = [home for home in self.left if home[0] != name]
            self.since = time.monotonic()

    def goes_on(self, deadline):
        """Whether there is something to wait for."""
        now = time.monotonic()
        return self.left and not self.ended and now - self.since <= TIMEOUT and now <= deadline

    def give_up(self):
        """Leave it, and blame the home that it was at; those that it has not come to."""
        self.leave()
        if not self.left:
            return []
        (name, _, _, home), *others = self.left
        within = f"did not answer within {TIMEOUT:.0f} s"
        self.reasons[name] = f"{home} {'cannot be looked into' if self.ended else within}"
        return others

    def leave(self):
        """End it, or leave it behind where even that hangs."""
        os.close(self.file)
        # Who started this may have told the kernel to sweep up children by itself.
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, os.WNOHANG)


def look(homes, question, file):
    """In the process of its own: answer for each home, a line each."""
    # Whatever becomes of it, nobody waits for its output.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    root = os.geteuid() == 0
    for name, uid, gid, home in homes:
        rename(home)
        if root:
            os.setgroups(groups_of(uid, gid))
            os.setegid(gid)
            os.seteuid(uid)
        try:
            value, reason = question(home), None
        except Exception as error:
            # Whatever one account has made there, the others' homes are looked into.
            value, reason = None, f"{home} cannot be looked into ({type(error).__name__})"
        if root:
            os.seteuid(0)
            os.setegid(0)
        line = json.dumps([name, value, reason]).encode() + b"\n"
        while line:
            line = line[os.write(file, line) :]


@cache
def groups_of(uid, gid):
    """The groups of an account; some of what it uses may be open to one of them only."""
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]


def rename(home):
    """Give this process the name that `hangs` looks for."""
    with open("/proc/self/comm", "w") as comm:
        comm.write(comm_of(home))


def comm_of(home):
    """The name of a process that looks into a home; the kernel keeps 15 characters."""
    return f"home-{zlib.crc32(os.fsencode(home)):08x}"


def hanging():
    """The names of the processes that earlier looks have left behind."""
    found, now = set(), time.clock_gettime(time.CLOCK_BOOTTIME)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", errors="replace") as stat:
                name, _, fields = stat.read().partition("(")[2].rpartition(")")
            with open(f"/proc/{pid}/status", errors="replace") as status:
                real = re.search(r"^Uid:\t([0-9]+)", status.read(), re.MULTILINE)
        except OSError:
            continue
        # Anybody may call a process so; and one that has ended hangs no more.
        if not real or int(real[1]) not in (0, os.getuid()) or fields.split()[0] == "Z":
            continue
        # One that is younger belongs to a look that goes on now.
        if now - int(fields.split()[19]) / os.sysconf("SC_CLK_TCK") > 2 * PATIENCE:
            found.add(name)
    return found


def look_into(homes, question):
    """What `question(home)` returns for each home, and which homes did not answer.

    Args:
        homes: as `homes_of` returns them.
        question: runs as the home's owner; what it returns must be JSON-able.

    Returns:
        The answers by account, and why by account for those that were skipped.
    """
    before, skipped, groups = hanging(), {}, {}
    for home in homes:
        if comm_of(home[3]) in before:
            skipped[home[0]] = f"an earlier look into {home[3]} still waits for an answer"
        else:
            groups.setdefault(mount_of(home[3]), []).append(home)
    answers, deadline = {}, time.monotonic() + PATIENCE
    probes = {mount: Probe(group, question) for mount, group in groups.items()}
    while probes:
        ready, _, _ = select.select([probe.file for probe in probes.values()], [], [], 0.05)
        for mount, probe in list(probes.items()):
            if probe.file in ready:
                probe.listen()
            if probe.goes_on(deadline):
                continue
            del probes[mount]
            others = probe.give_up()
            answers.update(probe.answers)
            skipped.update(probe.reasons)
            if others and time.monotonic() < deadline:
                probes[mount] = Probe(others, question)
            else:
                skipped.update({name: f"{home}: {mount} is slow" for name, _, _, home in others})
    return answers, skipped


def mount_of(path):
    """The mount point that a path lies on, told from its name: asking for it might hang."""
    best = "/"
    for point in (mount["mount"] for mount in mounts()):
        if f"{path}/".startswith(f"{point.rstrip('/')}/") and len(point) >= len(best):
            best = point
    return best


def is_person(uid):
    """Whether a uid is root's or that of somebody who may log in; those of directories are high."""
    return uid == 0 or (uid >= 1000 and uid not in (65534, 65535))


def homes_of(user=None):
    """The homes of people and of root; of one account if named.

    Returns:
        A list of (name, uid, gid, home).
    """
    if user is not None:
        try:
            found = [pwd.getpwnam(user)]
        except KeyError:
            return []
    else:
        found = [entry for entry in pwd.getpwall() if is_person(entry.pw_uid)]
        known = {entry.pw_name for entry in found}
        # A directory service seldom lists its accounts; those that have been here have a home.
        listed, _ = look_into([("/home", os.geteuid(), os.getegid(), "/home")], os.listdir)
        for name in sorted(set(listed.get("/home", [])) - known):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            if is_person(entry.pw_uid):
                found.append(entry)
    # Two accounts may share one.
    by_home = {entry.pw_dir: entry for entry in reversed(found)}
    return sorted((e.pw_name, e.pw_uid, e.pw_gid, e.pw_dir) for e in by_home.values())
