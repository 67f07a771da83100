"""How pyinfra talks to a box: small packets leave at once, and sessions wait for room."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from paramiko import ChannelException, SSHException, Transport

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
    monkeypatch.setattr(Transport, "is_active", lambda self: True)
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


def test_a_connection_that_has_ended_is_not_waited_for(
    transport: PatientTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = full(10**9, monkeypatch)
    monkeypatch.setattr(Transport, "is_active", lambda self: False)
    with pytest.raises(SSHException):
        transport.open_session()
    assert len(asked) == 1


def test_a_session_that_was_refused_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger(connection.LOG)
    log.error("Secsh channel 4 open FAILED: open failed: Connect failed")
    log.error("Exception: no more data")
    assert [record.getMessage() for record in caplog.records] == ["Exception: no more data"]
