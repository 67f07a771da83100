"""Pack and unpack homes, with GNU tar and as their owners.

Whoever owns a home decides what is in it: no link there may lead to where only root can look, or
write. And root is nobody on many file servers. What its owner does to a tar, or to a home, is told
of that home, and keeps no other from being packed.
"""

import grp
import os
import re
import select
import signal
import subprocess
import tempfile
from contextlib import contextmanager, suppress

from archive import CHUNK

PACK = ["--create", "--format=posix", "--sparse", "--one-file-system", "--acls", "--xattrs"]
# Only then does it say what lies on another file system; the list of all the rest goes nowhere.
PACK += ["--verbose", "--index-file=/dev/null", "."]
UNPACK = ["--extract", "--preserve-permissions", "--same-owner", "--acls", "--xattrs"]
PATIENCE = 600  # seconds; longer silence is a file server that is gone
NOTES = 5  # lines of what tar says about a home
SAID = 16 << 20  # bytes of it that are looked at

LEFT_OUT = re.compile(r": file is on a different filesystem; not dumped$")
NO_LOSS = {
    # What its owner cannot read, and what changes while it is read.
    "--create": re.compile(
        r": Permission denied$|: Warning: |: socket ignored$|: File shrank by |"
        rf": [Ff]ile (changed as|removed before) we read it$|{LEFT_OUT.pattern}"
    ),
    # What is there, and is another's or of another time.
    "--extract": re.compile(
        r": Cannot (change ownership|change mode|utime)\b|: Warning: |"
        r": implausibly old time stamp |: time stamp .* in the future$"
    ),
}
LAST = "tar: Exiting with failure status due to previous errors"


class Silent(OSError):
    """A home does not answer."""


class Outcome:
    """How it went with a home: what there is to say, a line each, and whether it is all there."""

    def __init__(self):
        """So far it went well."""
        self.notes, self.whole = [], True

    def lost(self, why):
        """Note that something is missing."""
        self.notes.append(why)
        self.whole = False

    def judge(self, status, said, doing):
        """Tell from tar's status, and from what it said, how it went."""
        said.seek(0)
        *lines, last = said.read(SAID).decode(errors="replace").splitlines() or [""]
        lines = lines if last == LAST else [*lines, *filter(None, [last])]
        if status in (0, 1):
            self.notes += shown([line for line in lines if LEFT_OUT.search(line)])
            return
        self.notes += shown(lines)
        # Without its last words there may have been others: a disk may be full for them, too.
        told = status == 2 and last == LAST and lines
        if not told or not all(map(NO_LOSS[doing].search, lines)):
            self.whole = False
            if status != 2 or not lines:
                self.notes.append(ended(status))


@contextmanager
def packed(user, patience=PATIENCE):
    """A home as chunks of a tar, and the outcome, which counts when all have been taken.

    Args:
        user: name, uid, gid and home.
        patience: how many seconds tar may be silent.
    """
    outcome = Outcome()
    with tempfile.TemporaryFile() as said:
        try:
            process = started(user, PACK, said, stdout=subprocess.PIPE)
        except OSError as error:
            outcome.lost(f"tar cannot be started: {error.strerror}")
            yield iter(()), outcome
            return
        try:
            yield chunks_of(process.stdout.fileno(), user["home"], patience), outcome
            process.stdout.close()
            outcome.judge(wait(process, user["home"], patience), said, "--create")
        except Silent as reason:
            outcome.lost(str(reason))
        finally:
            # Where even that hangs, it is left behind.
            process.kill()


def wait(process, home, patience):
    """Its status, once it has ended.

    Raises:
        Silent: it does not end.
    """
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        raise Silent(f"{home} did not answer within {patience} s") from None


def chunks_of(file, home, patience):
    """What comes from a pipe, in pieces of the same length.

    Raises:
        Silent: nothing comes.
    """
    chunk, ended = bytearray(), False
    while not ended:
        ready, _, _ = select.select([file], [], [], patience)
        if not ready:
            raise Silent(f"{home} did not answer within {patience} s")
        more = os.read(file, min(1 << 20, CHUNK - len(chunk)))
        ended = not more
        chunk += more
        if len(chunk) == CHUNK or (ended and chunk):
            yield bytes(chunk)
            chunk.clear()


class Unpacking:
    """A home that is filled with the chunks of a tar."""

    def __init__(self, user, patience=PATIENCE):
        """Start; the home is there, and is its owner's."""
        self.home, self.patience, self.outcome = user["home"], patience, Outcome()
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = started(user, UNPACK, self.said, stdin=subprocess.PIPE)
        os.set_blocking(self.process.stdin.fileno(), False)

    def write(self, chunk):
        """Take in a chunk; what goes wrong comes out at the end."""
        left, file = memoryview(chunk), self.process.stdin.fileno()
        while left and self.outcome.whole:
            _, ready, _ = select.select([], [file], [], self.patience)
            if not ready:
                self.outcome.lost(f"{self.home} did not answer within {self.patience} s")
            try:
                left = left[os.write(file, left) :] if ready else left
            except BlockingIOError:
                continue
            except BrokenPipeError:
                return

    def close(self):
        """End it; how it went."""
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            if self.outcome.whole:
                status = wait(self.process, self.home, self.patience)
                self.outcome.judge(status, self.said, "--extract")
        except Silent as reason:
            self.outcome.lost(str(reason))
        self.process.kill()
        self.said.close()
        return self.outcome


def started(user, options, said, **streams):
    """Start tar in somebody's home, as its owner."""
    as_owner = {}
    if os.geteuid() == 0:
        groups = [g.gr_gid for g in grp.getgrall() if user["name"] in g.gr_mem]
        as_owner = {"user": user["uid"], "group": user["gid"], "extra_groups": groups}
    return subprocess.Popen(
        ["tar", "--directory", user["home"], "--file=-", *options],
        stderr=said,
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams},
        **as_owner,
    )


def ended(status):
    """How tar ended, where it did not say why."""
    if status >= 0:
        return f"tar ended with status {status}"
    try:
        return f"tar was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"tar was ended by signal {-status}"


def shown(lines):
    """The first lines that tar said, and how many there are."""
    shown = [line.removeprefix("tar: ")[:300] for line in lines[:NOTES]]
    return [*shown, f"and {len(lines) - NOTES} more"] if lines[NOTES:] else shown
