"""What every module of the channel's build shares: progress lines, subprocesses, errors."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class ChannelError(Exception):
    """The channel cannot be built here; the message is one sentence that says why."""


def say(message: str) -> None:
    """Print a progress line on stderr (stdout is for the one JSON line)."""
    print(f"channel: {message}", file=sys.stderr, flush=True)


@contextmanager
def step(message: str) -> Iterator[None]:
    """Announce a step and, when it is through, what it took.

    Args:
        message: what is being done, without a full stop.
    """
    began = time.monotonic()
    yield
    say(f"{message} ({time.monotonic() - began:.1f} s)")


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command quietly.

    Args:
        command: the program and its arguments.
        cwd: where it runs.
        env: its whole environment; the caller's own by default.

    Returns:
        What it printed on stdout.

    Raises:
        ChannelError: it is not installed or failed; the end of its output is in the message.
    """
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise ChannelError(f"{command[0]} is needed to build the channel: {error}") from error
    if done.returncode != 0:
        tail = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise ChannelError(f"`{' '.join(map(str, command[:4]))} ...` failed: {tail}")
    return done.stdout
