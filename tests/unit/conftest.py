"""What the unit tests share: a web server on loopback that says what a test wants."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import settings

# Enough to have found what it found, and no more: there are many such tests.
settings.register_profile("unit", max_examples=40, deadline=None)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is not reached through a site's proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@dataclass
class Server:
    """A web server: pages by path, each a status and a body; it keeps who asked for what."""

    url: str
    pages: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@contextmanager
def serving(server: Server) -> Iterator[ThreadingHTTPServer]:
    """Serve its pages on a port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append(f"{self.command} {self.path}")
            status, body = server.pages.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    port = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=port.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield port
    finally:
        port.shutdown()
        thread.join()
        port.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server without pages: it answers 404."""
    found = Server("")
    with serving(found) as port:
        found.url = f"http://127.0.0.1:{port.server_port}"
        yield found


@pytest.fixture
def dead_url() -> str:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def self_signed() -> tuple[str, str]:
    """An authority that nobody knows, which vouches for 127.0.0.1: its key and its certificate."""
    now = datetime.now(timezone.utc)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Nobody's authority")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(encoding, form, serialization.NoEncryption())
    return private.decode(), certificate.public_bytes(encoding).decode()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A site's own authority."""
    path = tmp_path / "site.pem"
    path.write_text(self_signed()[1])
    return path


@dataclass
class Authority:
    """An authority, and a server that it vouches for."""

    pem: str
    url: str


@pytest.fixture
def authority(server: Server, tmp_path: Path) -> Iterator[Authority]:
    """The server's pages over TLS."""
    key, pem = self_signed()
    both = tmp_path / "key-and-certificate.pem"
    both.write_text(key + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with serving(server) as port:
        port.socket = context.wrap_socket(port.socket, server_side=True)
        yield Authority(pem, f"https://127.0.0.1:{port.server_port}")
