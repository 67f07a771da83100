"""A disposable machine on this host: its own systemd, sshd and PAM, reached over real SSH.

    machine = Machine.create("demo", "trixie")
    machine.boot()
    machine.wait_for_ssh()
    machine.run("systemctl is-system-running")
    machine.destroy()

It shares the host's network, so its servers have to listen on 127.0.0.1, on the ports that were
chosen for it when it was created; nothing else of the host is within its reach. Its state lies in
`/var/lib/jupyterbox-demo/<name>/`: the file system, a throwaway key, and `machine.json`.
"""

import fcntl
import json
import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from jupyterbox.demo import DemoError
from jupyterbox.demo.container import Container, container
from jupyterbox.demo.identity import authorize, choose_ports, crypt, make_key, make_sshd, set_name
from jupyterbox.demo.process import wait_until
from jupyterbox.demo.root import bare_root, copy_root, remove_tree
from jupyterbox.demo.steps import Say, Steps

# Where all boxes of this host are remembered: their names are taken on the whole host, too.
STATE = Path("/var/lib/jupyterbox-demo")

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


class NoMachine(DemoError):
    """There is no demo box of that name."""


@dataclass
class Machine:
    """A demo box, as `machine.json` remembers it.

    Args:
        name: what it is called, in the commands and as its hostname.
        release: of Debian or Ubuntu, such as `trixie`.
        ports: a port on 127.0.0.1 for each of `identity.SERVERS`.
        opspw_password: what sudo asks of `opspw`. The other accounts are `root` and `ops`, whose
            sudo asks nothing; all three log in with `ssh_key`.
        demo_password: of the account `demo` that the deploy makes for people.
        demo_password_hash: the same, as crypt(5) has it.
        conda: where conda comes from: empty for the public hosts, else `installer_url`,
            `installer_sha256`, `channel_alias` and `python`.
    """

    name: str
    release: str
    ports: dict[str, int]
    opspw_password: str
    demo_password: str
    demo_password_hash: str
    conda: dict[str, str] = field(default_factory=dict)

    ssh_host: ClassVar[str] = "127.0.0.1"
    ssh_user: ClassVar[str] = "root"

    @classmethod
    def create(
        cls, name: str = "demo", release: str = "trixie", say: Say | None = None
    ) -> "Machine":
        """Make a new box, not yet booted.

        Args:
            name: lower-case letters, digits and hyphens; one box has it at a time.
            release: one of `jupyterbox.demo.root.RELEASES`.
            say: is told each step; they are printed where it is missing.

        Raises:
            DemoError: the name is no hostname or is taken, or the root could not be built.
        """
        if not _NAME.fullmatch(name):
            raise DemoError(
                f"{name!r} cannot name a demo box: it has to be a hostname of lower-case letters, "
                "digits and hyphens, at most 31 of them."
            )
        say = say or Steps()
        root = bare_root(release, say)
        with _creating():
            directory = STATE / name
            if (directory / "machine.json").exists():
                raise DemoError(f"There is a demo box {name} already.")
            remove_tree(directory)
            directory.mkdir(mode=0o700)
            say(f"creating the box {name} ({release})")
            copy_root(root, directory / "root")
            demo_password = secrets.token_hex(6)
            machine = cls(
                name=name,
                release=release,
                ports=choose_ports(taken=_ports_of_others()),
                opspw_password=secrets.token_hex(6),
                demo_password=demo_password,
                demo_password_hash=crypt(demo_password),
            )
            machine._give_identity()
            # Written last: what has none is debris of an interrupted run.
            machine.save()
        return machine

    @classmethod
    def load(cls, name: str = "demo") -> "Machine":
        """The box of this name.

        Raises:
            NoMachine: there is none.
            DemoError: it belongs to root, who does not ask.
        """
        try:
            return cls(**json.loads((STATE / name / "machine.json").read_text()))
        except FileNotFoundError:
            raise NoMachine(
                f"There is no demo box {name}: `jupyterbox demo up --name {name}` makes one."
            ) from None
        except PermissionError:
            raise DemoError(f"The demo box {name} belongs to root: use sudo.") from None

    def save(self) -> None:
        """Write `machine.json`, for root alone, whole or not at all."""
        target = self.directory / "machine.json"
        new = target.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(asdict(self), indent=2) + "\n")
        new.rename(target)

    @property
    def directory(self) -> Path:
        """Where everything of this box lies."""
        return STATE / self.name

    @property
    def root(self) -> Path:
        """Its file system."""
        return self.directory / "root"

    @property
    def console_log(self) -> Path:
        """What it printed while it booted."""
        return self.directory / "console.log"

    @property
    def ssh_port(self) -> int:
        """Where its sshd listens."""
        return self.ports["ssh"]

    @property
    def ssh_key(self) -> Path:
        """The throwaway private key that opens all three accounts."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file with its host key and no other."""
        return self.directory / "known_hosts"

    @property
    def url(self) -> str:
        """The address of its hub."""
        return f"http://{self.ssh_host}:{self.ports['hub']}"

    @property
    def ca_certificates(self) -> list[Path]:
        """The certificate authorities that this host's site has added, for the box to trust too."""
        return sorted(Path("/usr/local/share/ca-certificates").glob("**/*.crt"))

    @property
    def python_index(self) -> str | None:
        """The Python index that this host is set to."""
        return os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL")

    @property
    def npm_registry(self) -> str | None:
        """The npm registry that this host is set to."""
        # npm itself writes the name in lower case, and reads both.
        names = ("npm_config_registry", "NPM_CONFIG_REGISTRY")
        return next((os.environ[name] for name in names if name in os.environ), None)

    def boot(self) -> None:
        """Switch it on, and do not wait; nothing happens where it runs."""
        if self.is_running():
            return
        self.kill()
        self._container.start(
            [
                "systemd-nspawn",
                "--quiet",
                # machined may be missing, and whoever starts this has made it a group of its own.
                "--register=no",
                "--keep-unit",
                "--boot",
                f"--directory={self.root}",
                f"--machine={self._unit}",
                f"--hostname={self.name}",
                "--resolv-conf=replace-host",
                "--timezone=off",
                "--link-journal=no",
                "--console=read-only",
            ],
            environment={
                # The box gets version 2 control groups, as servers have, whatever the host runs.
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                # /tmp is as large as the release makes it, not a tenth of the memory.
                "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
            },
            log=self.console_log,
        )

    def wait_for_ssh(self, seconds: float = 60) -> None:
        """Wait until it has booted so far that people may log in.

        Raises:
            DemoError: it did not, or it stopped running.
        """
        # While that file stands the box is still booting, and lets in root alone.
        self._wait(lambda: self.run("test ! -e /run/nologin").returncode == 0, "let us in", seconds)

    def is_running(self) -> bool:
        """Whether it is switched on."""
        return self._container.is_running()

    def run(
        self,
        command: str,
        user: str = "root",
        input: str | None = None,
        check: bool = False,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the box, over SSH.

        Args:
            command: a line for the account's shell.
            user: `root`, `ops` or `opspw`.
            input: what it reads.
            check: raise where it fails.
            timeout: in seconds.

        Returns:
            its exit status and output; 255 also means that the box could not be reached.

        Raises:
            subprocess.CalledProcessError: it failed, and `check` is set.
            subprocess.TimeoutExpired: it took too long.
        """
        return subprocess.run(
            [*self.ssh_command(user), "--", command],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            check=check,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def ssh_command(self, user: str = "root") -> list[str]:
        """The command that opens a shell in the box."""
        return [
            "ssh",
            # Nothing of the caller's own configuration, keys or known hosts.
            *("-F", "none"),
            *("-i", str(self.ssh_key)),
            *("-p", str(self.ssh_port)),
            *("-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-o", "StrictHostKeyChecking=yes"),
            *("-o", "BatchMode=yes"),
            *("-o", "ConnectTimeout=10"),
            *("-o", "LogLevel=ERROR"),
            f"{user}@{self.ssh_host}",
        ]

    def boot_id(self) -> str | None:
        """What tells one boot from the next; None where it cannot be reached."""
        return self.run("cat /proc/sys/kernel/random/boot_id").stdout.strip() or None

    def reboot(self, seconds: float = 90) -> None:
        """Have it reboot itself, and wait until the next boot lets people in.

        Raises:
            DemoError: it cannot be reached, or did not come back.
        """
        if (before := self.boot_id()) is None:
            raise DemoError(f"The demo box {self.name} cannot be reached to reboot it.")
        self.run("systemctl reboot")
        self._wait(lambda: self.boot_id() not in (None, before), "reboot", seconds)
        self.wait_for_ssh(seconds)

    def kill(self) -> None:
        """Cut its power: everything in it ends at once, with no chance to finish anything."""
        self._container.kill()
        self._sweep()

    def stop(self, seconds: float = 30) -> None:
        """Switch it off in good order; its power is cut where that takes too long."""
        self._container.stop(seconds)
        self.kill()

    def destroy(self) -> None:
        """Remove it and everything of it."""
        self.kill()
        # What remembers it goes last: interrupted here, it can still be destroyed.
        remove_tree(self.root)
        remove_tree(self.directory)

    @property
    def _unit(self) -> str:
        """Its name among everything else that runs on this host."""
        return f"jupyterbox-demo-{self.name}"

    @property
    def _container(self) -> Container:
        """The systemd-nspawn that runs it."""
        return container(self._unit, self.directory)

    def _give_identity(self) -> None:
        """Make of a bare root this box and no other: its name, keys, ports and passwords."""
        set_name(self.root, self.name)
        host_key = make_sshd(self.root, self.ssh_host, self.ssh_port)
        self.known_hosts.write_text(f"[{self.ssh_host}]:{self.ssh_port} {host_key}\n")
        authorize(self.root, make_key(self.ssh_key, self._unit))
        subprocess.run(
            ["chroot", self.root, "chpasswd", "--encrypted"],
            input=f"opspw:{crypt(self.opspw_password)}\n",
            text=True,
            check=True,
        )

    def _wait(self, until: Callable[[], bool], to: str, seconds: float) -> None:
        """Wait for something that only a running box can do."""

        def came_true() -> bool:
            if not self.is_running():
                raise DemoError(
                    f"The demo box {self.name} does not run any more: {self.console_log} says why."
                )
            return until()

        if not wait_until(came_true, seconds):
            raise DemoError(
                f"The demo box {self.name} did not {to} within {seconds:.0f} s: "
                f"{self.console_log} may say why."
            )

    def _sweep(self) -> None:
        """Clear away what a systemd-nspawn that was killed has left on the host."""
        nspawn = Path("/run/systemd/nspawn")
        for kind in ("propagate", "unix-export"):
            leftover = nspawn / kind / self._unit
            if leftover.is_mount():
                subprocess.run(["umount", "--lazy", leftover], check=True)
            remove_tree(leftover)
        if self.root.exists():
            of = self.root.stat()
            (nspawn / "locks" / f"inode-{of.st_dev}:{of.st_ino}").unlink(missing_ok=True)


@contextmanager
def _creating() -> Iterator[None]:
    """Let one box be created at a time: no two may choose the same ports."""
    # Boxes hold setuid programs, and keys: nobody else gets in.
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (STATE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ports_of_others() -> set[int]:
    """The ports of all boxes there are, running or not."""
    taken: set[int] = set()
    for remembered in STATE.glob("*/machine.json"):
        # One may be destroyed while we look.
        with suppress(NoMachine):
            taken.update(Machine.load(remembered.parent.name).ports.values())
    return taken
