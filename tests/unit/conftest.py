"""What the unit tests share: a web server on loopback that says what a test wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import settings

# Enough to have found what it found; a run of the suite stays under half a minute.
settings.register_profile("unit", max_examples=40, deadline=None)
settings.load_profile("unit")


@dataclass
class Server:
    """A web server: pages by path, each a status and a body; it keeps who asked for what."""

    url: str
    pages: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server without pages: it answers 404."""
    serving = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    found = Server(f"http://127.0.0.1:{serving.server_port}")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.requests.append(f"{self.command} {self.path}")
            status, body = found.pages.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    serving.RequestHandlerClass = Handler
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    serving.shutdown()
    thread.join()
    serving.server_close()
