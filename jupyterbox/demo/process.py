"""Processes that outlive the command that started them, and are found again."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Whether a condition came true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


@dataclass(frozen=True)
class Background:
    """A process in the background, known by a file with its id and when it started.

    The time tells ours from a stranger that was given the same id after ours had ended, so that
    nothing is ever ended that was not started here.

    Args:
        pid_file: where both are kept.
    """

    pid_file: Path

    def start(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        """Start it in a session of its own, so that no Ctrl-C and no hangup reaches it.

        Args:
            command: a program and its arguments; it must not fork away.
            log: what it prints is appended here.
            environment: variables besides ours.
            directory: where it runs.
        """
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(environment or {}),
                cwd=directory,
                start_new_session=True,
            )
        self.pid_file.write_text(f"{process.pid} {_started(process.pid)}\n")

    def pid(self) -> int | None:
        """Its id, or None where it does not run."""
        try:
            pid, started = map(int, self.pid_file.read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        return pid if _started(pid) == started else None

    def is_running(self) -> bool:
        """Whether it runs."""
        return self.pid() is not None

    def end(self, seconds: float = 10) -> None:
        """Ask it to end, wait so many seconds, and insist."""
        for by in (signal.SIGTERM, signal.SIGKILL):
            if (pid := self.pid()) is not None:
                os.kill(pid, by)
            if wait_until(lambda: not self.is_running(), seconds):
                break
        self.pid_file.unlink(missing_ok=True)


def children(pid: int) -> list[int]:
    """The ids of a process's children."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except FileNotFoundError:
        return []


def _started(pid: int) -> int | None:
    """When a process started, in ticks since the host did; None where it runs no more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses, which may hold any character.
    state, *others = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(others[18])
