"""What the programs that build a release share: one builder at a time, progress, the record."""

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

HEARTBEAT = 10  # seconds; longer silence looks like a hang

_locks = []
_what = []  # is built by this program, in words


class Failure(Exception):
    """One sentence for the operator."""


class Unneeded(Exception):
    """Why a release that was built is thrown away again, without anything being wrong."""


@contextmanager
def building(prefix):
    """Hold the place where a release is built, alone; it comes empty, and a failure empties it.

    Yields whether there is anything to build. A run whose connection broke may still be at it:
    this one waits for it, and finds the release complete or what is left of it.
    """
    prefix = Path(prefix)
    lock = prefix.with_name(f".{prefix.name}.lock")
    with alone(lock, f"another run that builds {prefix}"):
        if (prefix / "release.json").exists():
            yield False
            return
        if prefix.exists():
            # An interrupted run left it; no link has ever named it.
            shutil.rmtree(prefix)
        try:
            yield True
        except BaseException:
            shutil.rmtree(prefix, ignore_errors=True)
            raise


@contextmanager
def alone(path, other):
    """Hold a lock; what is run meanwhile, as conda, holds it, too: it may outlive its builder.

    Args:
        path: of its file.
        other: who may have it, in words.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whoever can read a file can lock it.
    with open(path, "w", opener=for_root_alone) as lock:
        wait_for(lock, other)
        _locks.append(lock.fileno())
        try:
            yield
        finally:
            _locks.remove(lock.fileno())


def say(text):
    """Tell the operator how far it is; what is built besides tells its own."""
    print(": ".join([*_what, text]), flush=True)


def for_root_alone(path, flags):
    """Open a file that nobody else can."""
    return os.open(path, flags, 0o600)


def wait_for(lock, other):
    """Take a lock, and say so if somebody else has it."""
    told = 0.0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() - told > HEARTBEAT:
                told = time.monotonic()
                say(f"waiting for {other}")
            time.sleep(0.2)


def run(command, what, env=None):
    """Run a command, say so, and keep saying so while it runs; its status and output."""
    started = time.monotonic()
    say(what)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **(env or {})},
            pass_fds=_locks,
        )
        try:
            while True:
                try:
                    code = process.wait(HEARTBEAT)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{what} ({time.monotonic() - started:.0f} s so far)")
        except BaseException:
            process.terminate()
            process.wait()
            raise
        out.seek(0), err.seek(0)
        return code, out.read().decode(errors="replace"), err.read().decode(errors="replace")


def together(*steps):
    """Take steps side by side, and wait for all of them; the first failure is raised then."""
    with ThreadPoolExecutor(len(steps)) as pool:
        for taken in [pool.submit(step) for step in steps]:
            taken.result()


def close(prefix):
    """Take away from all but root the right to write: uv's lock, say, is open to everybody."""
    for directory, directories, files in os.walk(prefix):
        for path in (os.path.join(directory, name) for name in [*directories, *files]):
            mode = os.lstat(path).st_mode
            if mode & 0o022 and not stat.S_ISLNK(mode):
                os.chmod(path, stat.S_IMODE(mode) & ~0o022)


def record(prefix, document):
    """Write release.json, the mark of a complete release, last and at once."""
    close(prefix)
    # The power may fail: what the mark stands for is on the disk before it is.
    os.sync()
    unfinished = Path(prefix, ".release.json")
    built = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with open(unfinished, "w") as file:
        json.dump({**document, "built": built}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.rename(unfinished, Path(prefix, "release.json"))


def build(what, prefix, fill):
    """Build a release by calling `fill`; end the program with one sentence if that fails."""
    os.umask(0o022)
    _what.append(what)
    try:
        with building(prefix) as needed:
            if needed:
                fill()
    except Unneeded as reason:
        say(f"{reason}.")
    except Failure as failure:
        sys.exit(f"{what}: {str(failure).rstrip('.;')}.")
    except OSError as error:
        sys.exit(f"{what}: {error.filename or prefix}: {error.strerror}.")
