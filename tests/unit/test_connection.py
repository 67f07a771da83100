"""How pyinfra talks to a box: small packets leave at once."""

from __future__ import annotations

import json
import socket

from jupyterbox.connection import NoDelay


def test_small_packets_leave_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        client = socket.create_connection(port.getsockname())
        transport = NoDelay()(client)
        try:
            assert transport.sock is client
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finally:
            transport.close()
            client.close()


def test_it_can_be_shown_with_an_inventory() -> None:
    assert json.dumps(NoDelay().to_json()) == '"TCP_NODELAY"'
