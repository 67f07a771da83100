"""Bytes between a program on the box and one on this machine, as many as there are.

pyinfra takes a command's output as lines of text, fetches a file through a copy that everybody on
the box can read, and keeps what it sends in memory where the box is this machine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from paramiko import Transport
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.local import LocalConnector
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import extract_control_arguments

from jupyterbox.askpass import command_for_host
from jupyterbox.program import source

PIECE = 1 << 20
HEARTBEAT = 10  # seconds; longer silence looks like a hang


class Ended(NamedTuple):
    """How a program ended."""

    status: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """Why it failed: the last that it said."""
        return self.err.strip() or f"it ended with status {self.status} and said nothing."


class Process(Protocol):
    """A program that runs somewhere."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    def no_more(self) -> None:
        """Say that no more comes."""
        ...

    def end(self) -> Ended:
        """Say that no more comes, and wait for its end."""
        ...

    def stop(self) -> None:
        """Read no more of it; it ends when it says more."""
        ...


class Local:
    """A program on this machine."""

    def __init__(self, command: str | list[str], **options: Any) -> None:
        self.err = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            command,
            shell=isinstance(command, str),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.err,
            **options,
        )
        assert process.stdin and process.stdout
        self.process, self.stdin, self.stdout = process, process.stdin, process.stdout

    def no_more(self) -> None:
        """Say that no more comes."""
        with suppress(OSError):
            self.stdin.close()

    def end(self) -> Ended:
        """Say that no more comes, and wait for its end."""
        self.no_more()
        out = self.stdout.read()
        self.stdout.close()
        status = self.process.wait()
        self.err.seek(0)
        err = self.err.read()
        self.err.close()
        return Ended(status, out.decode(errors="replace"), err.decode(errors="replace"))

    def stop(self) -> None:
        """Read no more of it; it ends when it says more."""
        self.process.terminate()


class Ssh:
    """A program on the box, over the connection that the run has."""

    def __init__(self, transport: Transport, command: str) -> None:
        self.channel = transport.open_session()
        self.channel.exec_command(command)
        self.stdin: Any = self.channel.makefile_stdin("wb")
        self.stdout: Any = self.channel.makefile("rb")
        self.err = self.channel.makefile_stderr("rb")

    def no_more(self) -> None:
        """Say that no more comes."""
        with suppress(OSError):
            self.stdin.close()
            self.channel.shutdown_write()

    def end(self) -> Ended:
        """Say that no more comes, and wait for its end."""
        self.no_more()
        out, err = self.stdout.read(), self.err.read()
        status = self.channel.recv_exit_status()
        return Ended(status, out.decode(errors="replace"), err.decode(errors="replace"))

    def stop(self) -> None:
        """Read no more of it; it ends when it says more."""
        self.channel.close()


def there(state: State, host: Host, command: StringCommand) -> Process:
    """Start a command on the box, as root if the operation that this is called in runs as root.

    Raises:
        PyinfraError: the box is not reached by SSH, and is not this machine.
    """
    given: Any = host.current_op_global_arguments or {}
    arguments: Any = {key: given[key] for key in CONNECTOR_ARGUMENT_KEYS if key in given}
    extract_control_arguments(arguments)
    line = command_for_host(state, host, command, **arguments).get_raw_value()
    if isinstance(host.connector, SSHConnector) and host.connector.client:
        transport = host.connector.client.get_transport()
        if transport:
            return Ssh(transport, line)
    if isinstance(host.connector, LocalConnector):
        return Local(line)
    raise PyinfraError(f"{host.name} is reached neither by SSH nor as @local.")


@contextmanager
def secret_in(path: Path | None) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """A descriptor of a file, and the options with which a program inherits it; none for no file.

    Args:
        path: of the file.
    """
    if path is None:
        yield None, {}
        return
    with path.open("rb") as file:
        yield file.fileno(), {"pass_fds": [file.fileno()]}


def here(name: str, arguments: str, **options: Any) -> Local:
    """Start a program of jupyterbox/remote on this machine.

    Args:
        name: the file's, without `.py`.
        arguments: in JSON.
        options: subprocess.Popen's.
    """
    return Local([sys.executable, "-I", "-c", source(name), arguments], **options)


def give(taker: IO[bytes], content: bytes) -> bool:
    """Write to a program at once; whether it took it. One that has ended says why at its end."""
    try:
        taker.write(content)
        taker.flush()
    except OSError:
        return False
    return True


def pump(host: Host, giver: IO[bytes], taker: IO[bytes]) -> bool:
    """Move all that there is from one program to another, and say how far that is.

    Args:
        host: the box that it is about.
        giver: is read to its end.
        taker: is written to.

    Returns:
        Whether it took everything; else it has ended, and says why.
    """
    size, told = 0, time.monotonic()
    while content := giver.read(PIECE):
        if not give(taker, content):
            return False
        size += len(content)
        if time.monotonic() - told > HEARTBEAT:
            told = time.monotonic()
            host.log(f"{size >> 20} MB so far")
    return True
