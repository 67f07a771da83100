"""What keeps a box running: systemd where it runs this host, else a shell of our own.

Either way the box gets a control group of its own, so that its systemd never finds itself in the
host's, and is started again when it reboots: a systemd-nspawn that leaves its unit alone ends
with 133 then, and expects that of whoever started it.
"""

import contextlib
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from jupyterbox.demo import DemoError
from jupyterbox.demo.process import Background, children, wait_until

KEEP = Path(__file__).with_name("keep.sh")


class Container(ABC):
    """A systemd-nspawn that runs in the background.

    Args:
        name: a name that nothing else on this host has.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Start it with this command, and append what it prints to the log.

        Raises:
            DemoError: the host would not.
        """

    @abstractmethod
    def is_running(self) -> bool:
        """Whether it runs, or is just being started again."""

    @abstractmethod
    def stop(self, seconds: float) -> bool:
        """Ask it to shut down; whether it did within so many seconds."""

    @abstractmethod
    def kill(self) -> None:
        """End everything in it at once, and leave nothing of it."""


def container(name: str, directory: Path) -> Container:
    """The container of this name, kept running by whatever this host offers.

    Args:
        name: a name that nothing else on this host has.
        directory: where a process id may be kept.
    """
    # The test that sd_booted(3) makes.
    if Path("/run/systemd/system").is_dir():
        return ServiceContainer(name)
    return ShellContainer(name, directory / "keep.pid")


class ServiceContainer(Container):
    """Kept running by the host's systemd, as a transient service."""

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        properties = {
            "Delegate": "yes",
            "KillMode": "mixed",
            "RestartForceExitStatus": "133",
            "SuccessExitStatus": "133",
            "StandardOutput": f"append:{log}",
            "StandardError": f"append:{log}",
        }
        started = subprocess.run(
            [
                "systemd-run",
                "--quiet",
                "--collect",
                f"--unit={self.name}",
                *(f"--property={key}={value}" for key, value in properties.items()),
                *(f"--setenv={key}={value}" for key, value in environment.items()),
                "--",
                *command,
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if started.returncode:
            raise DemoError(f"systemd would not run {self.name}: {started.stderr.strip()}")

    def is_running(self) -> bool:
        return self._show("ActiveState") not in ("inactive", "failed")

    def stop(self, seconds: float) -> bool:
        self._systemctl("stop", "--no-block")
        return wait_until(self._is_gone, seconds)

    def kill(self) -> None:
        self._systemctl("kill", "--signal=KILL")
        wait_until(self._is_gone, 10)

    def _is_gone(self) -> bool:
        """Whether systemd has forgotten it: the name is not free before."""
        return self._show("LoadState") == "not-found"

    def _show(self, key: str) -> str:
        return self._systemctl("show", "--value", f"--property={key}").stdout.strip()

    def _systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["systemctl", *arguments, f"{self.name}.service"],
            check=False,
            capture_output=True,
            text=True,
        )


class ShellContainer(Container):
    """Kept running by `keep.sh`, in control groups that are made for it."""

    def __init__(self, name: str, pid_file: Path) -> None:
        super().__init__(name)
        self._keeper = Background(pid_file)

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        groups = " ".join(str(group) for group in self._groups())
        self._keeper.start([str(KEEP), groups, *command], log, environment)

    def is_running(self) -> bool:
        return self._keeper.is_running()

    def stop(self, seconds: float) -> bool:
        if (keeper := self._keeper.pid()) is not None:
            for nspawn in children(keeper):
                os.kill(nspawn, signal.SIGTERM)
        return wait_until(lambda: not self.is_running(), seconds)

    def kill(self) -> None:
        # The keeper is in there as well, so nothing can start the box anew meanwhile. Version 1 has
        # no such file, and does not need one: its group holds the same processes.
        for group in self._groups():
            if (switch := group / "cgroup.kill").exists():
                switch.write_text("1")
        wait_until(self._remove_groups, 10)

    def _remove_groups(self) -> bool:
        """Delete its control groups; whether they are gone, which takes that nothing runs there."""
        for group in self._groups():
            for directory, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
        return not any(group.exists() for group in self._groups())

    def _groups(self) -> list[Path]:
        """Its directory in version 2's hierarchy and, beside version 1, in systemd's.

        The hierarchies of version 1's controllers are left alone: a box without them just has no
        limits to set.
        """
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return [
            Path(fields[4], self.name)
            for fields in mounts
            if fields[-3] == "cgroup2" or "name=systemd" in fields[-1].split(",")
        ]
