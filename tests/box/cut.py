"""Run pyinfra as an operator does, and have an accident at one of its remote commands.

    python -m tests.box.cut '{"at": 17, "how": "killed", "after": 0.5}' inventory.py -y deploy.py

Nothing in the project knows of it (tests/box/watched.py).
"""

from __future__ import annotations

# First of all: it has gevent patch the standard library.
from pyinfra_cli.main import main  # type: ignore[import-untyped]  # isort: skip

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
from pyinfra.connectors.ssh import SSHConnector

from jupyterbox.demo.machine import Machine
from tests.box.accidents import Cut, fill
from tests.box.watched import watch


def accident(cut: Cut, connector: SSHConnector) -> None:
    """Have it."""
    note(cut, cut.how)
    if cut.how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if cut.how == "dropped":
        transport = connector.client and connector.client.get_transport()
        assert transport
        transport.sock.shutdown(socket.SHUT_RDWR)
    if cut.how == "power":
        Machine.load(cut.machine).kill()
    if cut.how == "full":
        fill(Machine.load(cut.machine), 64)


def note(cut: Cut, what: float | str) -> None:
    """Write a line of the record."""
    with Path(cut.record).open("a") as record:
        record.write(f"{json.dumps(what)}\n")


def cut_off(cut: Cut) -> None:
    """Have every remote command counted, and one of them the accident."""
    count = 0

    def counted(connector: SSHConnector, send: Callable[[], Any]) -> Any:
        nonlocal count
        if connector.state.is_executing or not cut.moving:
            if count == cut.at:
                gevent.spawn_later(cut.after, accident, cut, connector)
            count += 1
        started = time.monotonic()
        try:
            return send()
        finally:
            note(cut, round(time.monotonic() - started, 3))

    watch(counted)


if __name__ == "__main__":
    cut_off(Cut(**json.loads(sys.argv[1])))
    sys.argv = ["pyinfra", *sys.argv[2:]]
    sys.exit(main())
