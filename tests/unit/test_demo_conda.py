"""Where a demo box's conda comes from."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jupyterbox.demo import conda
from jupyterbox.demo.conda import answers, conda_mirror
from jupyterbox.demo.machine import Machine

BOX = Machine(
    name="demo",
    release="trixie",
    ports={"channel": 20004},
    opspw_password="first",
    demo_password="second",
    demo_password_hash="$6$third",
)


class _Pages(BaseHTTPRequestHandler):
    """Has the page /there and no other."""

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/there" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        quick = {"poll_interval": 0.01}
        threading.Thread(target=server.serve_forever, kwargs=quick, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_page_that_is_there_answers_and_a_missing_one_does_not(address: str) -> None:
    assert answers(f"{address}/there")
    assert not answers(f"{address}/missing")


def test_where_nobody_listens_nobody_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        assert not answers(f"http://127.0.0.1:{silent.getsockname()[1]}/")


def test_nothing_stands_in_for_hosts_that_answer(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conda, "CONDA_HOSTS", (f"{address}/there", f"{address}/there"))
    said: list[str] = []
    assert conda_mirror(BOX, said.append) == {}
    assert said == []


def test_the_stand_in_is_named_once_and_told_to_the_box(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conda, "CONDA_HOSTS", (f"{address}/there", f"{address}/missing"))
    built = {"dir": "/built", "installer": "installer.sh", "sha256": "0" * 64, "python": "3.11"}
    served: list[str] = []
    monkeypatch.setattr(conda, "_build", lambda: built)
    monkeypatch.setattr(conda, "_serve", lambda machine, directory: served.append(str(directory)))
    said: list[str] = []
    assert conda_mirror(BOX, said.append) == {
        "installer_url": "http://127.0.0.1:20004/installer.sh",
        "installer_sha256": "0" * 64,
        "channel_alias": "http://127.0.0.1:20004",
        "python": "3.11",
    }
    assert served == ["/built"]
    assert len(said) == 1
