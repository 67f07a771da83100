"""Where a demo box's conda comes from: the public hosts, or a stand-in on this one."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from jupyterbox.demo import REPOSITORY, DemoError
from jupyterbox.demo.machine import Machine
from jupyterbox.demo.process import Background, wait_until
from jupyterbox.demo.root import cache_directory
from jupyterbox.demo.steps import Say

# The one has the packages, the other the installer.
CONDA_HOSTS = (
    "https://conda.anaconda.org/conda-forge/noarch/repodata.json.zst",
    "https://github.com",
)


def conda_mirror(machine: Machine, say: Say) -> dict[str, str]:
    """What the box has to be told about conda so that it can be installed here.

    Nothing where the public hosts answer. Elsewhere the channel and the installer that the
    project's tests use are built and served on the machine's port for them.

    Args:
        machine: the box; `stop_channel` ends what serves it.
        say: is told that a stand-in is used.

    Returns:
        what `Machine.conda` holds.

    Raises:
        DemoError: the stand-in could not be built or served.
    """
    if all(answers(url) for url in CONDA_HOSTS):
        return {}
    say("conda's hosts cannot be reached: a local channel and installer stand in for them")
    built = _build()
    _serve(machine, Path(built["dir"]))
    address = f"http://{machine.ssh_host}:{machine.ports['channel']}"
    return {
        "installer_url": f"{address}/{built['installer']}",
        "installer_sha256": built["sha256"],
        "channel_alias": address,
        "python": built["python"],
    }


def stop_channel(machine: Machine) -> None:
    """End what serves a machine's channel, if anything does."""
    _server(machine).end()


def answers(url: str, seconds: float = 5) -> bool:
    """Whether a web address can be reached from this host."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=seconds):
            return True
    except OSError:
        return False


def _build() -> dict[str, Any]:
    """Build the channel, or find it built; its progress is shown."""
    cache = cache_directory() / "channel"
    built = subprocess.run(
        [sys.executable, "-m", "tests.channel", "build", "--cache", str(cache)],
        cwd=REPOSITORY,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if built.returncode:
        raise DemoError("The local conda channel could not be built, as said above.")
    description: dict[str, Any] = json.loads(built.stdout.splitlines()[-1])
    return description


def _serve(machine: Machine, directory: Path) -> None:
    """Serve a built channel; a server from before may serve an older one, and is replaced."""
    server = _server(machine)
    server.end()
    log = machine.directory / "channel.log"
    port = machine.ports["channel"]
    server.start(
        [
            *(sys.executable, "-m", "tests.channel", "serve"),
            *("--dir", str(directory), "--port", str(port)),
        ],
        log,
        directory=REPOSITORY,
    )
    if not wait_until(lambda: _listens(port) or not server.is_running(), 10) or not _listens(port):
        raise DemoError(f"The local conda channel could not be served: {log} says why.")


def _server(machine: Machine) -> Background:
    return Background(machine.directory / "channel.pid")


def _listens(port: int) -> bool:
    """Whether anybody takes connections on a port of 127.0.0.1."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
