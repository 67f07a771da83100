"""The delaying relay of the benchmarks: order, delay, bytes; it ends with its connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.relay import Relay

PATIENCE = 30  # seconds


@contextmanager
def server(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Takes one connection, reads to its end, answers, hangs up; its port and what it read."""
    read: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE)
                while data := connection.recv(1 << 16):
                    read.append(data)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], read
        thread.join(PATIENCE)
        assert not thread.is_alive()


def converse(port: int, pieces: list[bytes]) -> bytes:
    """Say so much, and return all that is answered."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        for piece in pieces:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(1 << 16):
            answer += data
        return answer


def test_all_of_it_arrives_in_order_and_is_counted() -> None:
    pieces = [bytes([number % 256]) * (1 + number * 7 % 3000) for number in range(400)]
    answer = b"".join(reversed(pieces))
    with server(answer) as (port, read), Relay(port, rtt=0.01) as relay:
        assert converse(relay.port, pieces) == answer
        assert b"".join(read) == b"".join(pieces)
        assert relay.counted == {"connections": 1, "there": len(answer), "back": len(answer)}
        assert relay.bytes == 2 * len(answer)


def test_nothing_comes_before_its_time() -> None:
    with server(b"welcome") as (port, _), Relay(port, rtt=0.3) as relay:
        begun = time.monotonic()
        assert converse(relay.port, [b"hello"]) == b"welcome"
        # A handshake, and a question with its answer: later is a slow machine, earlier is wrong.
        assert time.monotonic() - begun >= 0.6


def test_without_a_delay_it_only_counts() -> None:
    with server(b"") as (port, read), Relay(port) as relay:
        assert converse(relay.port, [b"some"]) == b""
        assert read == [b"some"]
        assert relay.bytes == 4


def test_where_nobody_listens_the_connection_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Relay(port) as relay, socket.create_connection(("127.0.0.1", relay.port)) as client:
        client.settimeout(PATIENCE)
        assert client.recv(1) == b""


def test_it_ends_while_a_connection_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with Relay(listener.getsockname()[1]) as relay:
            client = socket.create_connection(("127.0.0.1", relay.port), PATIENCE)
            listener.settimeout(PATIENCE)
            connection, _ = listener.accept()
        client.settimeout(PATIENCE)
        assert client.recv(1) == b""
        client.close()
        connection.close()
