"""Serve a built channel over HTTP on the loopback address."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Handler(SimpleHTTPRequestHandler):
    # Keep connections open: a client asks for dozens of packages in a row.
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the requests are of no interest, the tests' own output is."""


def server(directory: Path, port: int) -> ThreadingHTTPServer:
    """Make a server that listens already.

    Args:
        directory: what to serve.
        port: where on 127.0.0.1; 0 for a free one.

    Raises:
        OSError: the port is taken.
    """
    handler = functools.partial(_Handler, directory=str(directory))
    made = ThreadingHTTPServer(("127.0.0.1", port), handler)
    made.daemon_threads = True
    return made


@contextmanager
def serve(directory: Path, port: int = 0) -> Iterator[str]:
    """Serve a directory while the block runs.

    Args:
        directory: what to serve.
        port: where on 127.0.0.1; 0 for a free one.

    Yields:
        The address, such as http://127.0.0.1:8123, without a slash at the end.
    """
    made = server(directory, port)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_address[1]}"
    finally:
        made.shutdown()
        made.server_close()
        thread.join()
