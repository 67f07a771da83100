"""pyinfra's remote commands, seen from within its process: its connector's methods are wrapped.

Nothing in the project knows of it.
"""

from __future__ import annotations

# First of all: it has gevent patch the standard library.
import pyinfra_cli.main  # type: ignore[import-untyped]  # isort: skip  # noqa: F401

from collections.abc import Callable
from typing import Any

from pyinfra.connectors.ssh import SSHConnector

Around = Callable[[SSHConnector, Callable[[], Any]], Any]


def watch(around: Around) -> None:
    """Have each remote command of this process, from now on, go through a function.

    Args:
        around: gets the connection and what sends the command; it returns what that returns.
    """

    def watched(method: Any) -> Any:
        def run(self: SSHConnector, *args: Any, **kwargs: Any) -> Any:
            return around(self, lambda: method(self, *args, **kwargs))

        return run

    for name in ("run_shell_command", "put_file"):
        setattr(SSHConnector, name, watched(getattr(SSHConnector, name)))
