"""A mirror that dies while it is read from: a relay to it, for so many bytes."""

from __future__ import annotations

import socket
import socketserver
import threading
from typing import Any


class Relay:
    """Passes connections on to a port of 127.0.0.1.

    Args:
        target: that port.
        budget: bytes that it brings before it hangs up on everybody; None for all there are.
    """

    def __init__(self, target: int, budget: int | None = None) -> None:
        self.target, self.budget = target, budget
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                relay._pass_on(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Relay:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pass_on(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.target)) as server:
            asking = threading.Thread(target=copy, args=(client, server), daemon=True)
            asking.start()
            while data := server.recv(1 << 16):
                if self.budget is not None:
                    self.budget -= len(data)
                    if self.budget < 0:
                        client.shutdown(socket.SHUT_RDWR)
                        return
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


def copy(source: socket.socket, target: socket.socket) -> None:
    """Pass on until nothing more comes."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # Whoever hung up has said enough.
        return
