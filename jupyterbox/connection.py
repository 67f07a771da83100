"""How pyinfra talks to a box."""

from __future__ import annotations

from socket import IPPROTO_TCP, TCP_NODELAY, socket
from typing import Any

from paramiko import Transport


class NoDelay:
    """A paramiko `transport_factory` that sends small packets at once.

    Neither paramiko nor pyinfra sets TCP_NODELAY. Nagle's algorithm and delayed acknowledgements
    then cost 44 ms a command; a no-op run of 30 operations took 4.7 s instead of 1.65 s.
    """

    def __call__(self, sock: socket, **options: Any) -> Transport:
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        return Transport(sock, **options)

    def to_json(self) -> str:
        """For `pyinfra INVENTORY debug-inventory --json`."""
        return "TCP_NODELAY"
