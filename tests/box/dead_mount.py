"""A mount in a box whose server never answers: whoever looks into it hangs.

    python -m tests.box.dead_mount PID PATH

It mounts a FUSE file system on PATH in the mount namespace of the process PID, says so, and never
answers a request of the kernel's, until its standard input is closed; then what hangs comes free.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.box.conftest import REPOSITORY, Operator
from tests.box.user import wait_for

CLONE_NEWNS = 0x00020000


def mount(pid: int, path: str) -> None:
    """Mount it. `path` is as the process `pid` sees it.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    fuse = os.open("/dev/fuse", os.O_RDWR)
    with open(f"/proc/{pid}/ns/mnt") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "setns")
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other"
    if libc.mount(b"dead", path.encode(), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")


@contextmanager
def dead(box: Operator, path: str) -> Iterator[None]:
    """A directory of a box that does not answer, as long as the context lasts."""
    box.sh(f"mkdir -p {path}")
    # Something in the box that can be told from the host.
    seconds = str(uuid.uuid4().int % 10**9 + 10**9)
    box.sh(f"nohup sleep {seconds} >/dev/null 2>&1 & :")
    wait_for(lambda: bool(running("sleep", seconds)), "a process in the box")
    [pid] = running("sleep", seconds)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.box.dead_mount", pid, path],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout and server.stdin
    try:
        assert server.stdout.readline() == "mounted\n"
        yield
    finally:
        server.stdin.close()
        server.wait()
        box.sh(f"pkill -f '^sleep {seconds}'; umount -l {path}", check=False)


def running(*command: str) -> list[str]:
    """The processes, as this host numbers them, that run just this."""
    return [entry.name for entry in Path("/proc").glob("[0-9]*") if cmdline(entry) == [*command]]


def cmdline(process: Path) -> list[str]:
    """A process's command line; nothing once it has ended."""
    try:
        return (process / "cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


if __name__ == "__main__":
    mount(int(sys.argv[1]), sys.argv[2])
    print("mounted", flush=True)
    sys.stdin.read()
