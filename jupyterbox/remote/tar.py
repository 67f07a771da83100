"""Pack and unpack homes, with GNU tar and as their owners.

Whoever owns a home decides what is in it: no link there may lead to where only root can look, or
write. And root is nobody on many file servers.
"""

import grp
import os
import select
import subprocess
import tempfile
from contextlib import contextmanager, suppress

from archive import CHUNK

PACK = ["--create", "--format=posix", "--sparse", "--one-file-system", "--acls", "--xattrs", "."]
UNPACK = ["--extract", "--preserve-permissions", "--same-owner", "--acls", "--xattrs"]
PATIENCE = 600  # seconds; longer silence is a file server that is gone
NOTES = 5  # lines of what tar says about a home


class Silent(OSError):
    """A home does not answer."""


@contextmanager
def packed(user, patience=PATIENCE):
    """A home as chunks of a tar; notes are there when all have been taken.

    Args:
        user: name, uid, gid and home.
        patience: how many seconds tar may be silent.
    """
    with tempfile.TemporaryFile() as said:
        process = started(user, PACK, said, stdout=subprocess.PIPE)
        notes = []
        try:
            yield chunks_of(process.stdout.fileno(), user["home"], patience), notes
            process.stdout.close()
            process.wait()
        except BaseException:
            # Where even that hangs, it is left behind.
            process.kill()
            raise
        notes += told(said) if process.returncode > 1 else []


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

    def __init__(self, user):
        """Start; the home is there, and is its owner's."""
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = started(user, UNPACK, self.said, stdin=subprocess.PIPE)

    def write(self, chunk):
        """Take in a chunk."""
        # What was wrong comes out at the end.
        with suppress(BrokenPipeError):
            self.process.stdin.write(chunk)

    def close(self):
        """End it; what went wrong, a line each."""
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        notes = told(self.said) if self.process.wait() else []
        self.said.close()
        return notes


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


def told(said):
    """The last lines that tar said."""
    said.seek(0)
    lines = said.read().decode(errors="replace").splitlines()
    # The last one only says that there are others.
    lines = [line.removeprefix("tar: ")[:300] for line in lines if "previous errors" not in line]
    more = [f"and {len(lines) - NOTES} more"] if len(lines) > NOTES else []
    return [*lines[:NOTES], *more]
