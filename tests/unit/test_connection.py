"""How pyinfra talks to a box: small packets leave at once, and sessions wait for room."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from paramiko import ChannelException, Transport

from jupyterbox import connection
from jupyterbox.connection import NoDelay, PatientTransport


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


@pytest.fixture
def transport() -> Iterator[PatientTransport]:
    """A connection to nobody who would answer."""
    here, there = socket.socketpair()
    with here, there:
        transport = PatientTransport(here)
        yield transport
        transport.close()


def full(times: int, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Have the server refuse so many sessions; what it was asked."""
    asked: list[dict[str, Any]] = []

    def open_session(self: Transport, **options: Any) -> str:
        asked.append(options)
        if len(asked) <= times:
            # What OpenSSH says at MaxSessions: SSH2_OPEN_CONNECT_FAILED.
            raise ChannelException(2, "open failed")
        return "a session"

    monkeypatch.setattr(Transport, "open_session", open_session)
    monkeypatch.setattr(connection, "PAUSE", 0)
    return asked


def test_a_session_waits_for_room(
    transport: PatientTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = full(3, monkeypatch)
    session: Any = transport.open_session(timeout=7)
    assert (session, asked) == ("a session", [{"timeout": 7}] * 4)


def test_a_server_without_any_room_is_told(
    transport: PatientTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(10**9, monkeypatch)
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    with pytest.raises(ChannelException):
        transport.open_session()
