"""The program that asks whether URLs answer: which do not, and why."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.conftest import Authority, Server
from tests.unit.remote import answered, module

check_urls = module("check_urls")
trust = module("trust")


@pytest.fixture
def no_web_server() -> Iterator[str]:
    """A port where something else than a web server answers."""
    with socket.create_server(("127.0.0.1", 0)) as port:

        def greet() -> None:
            client, _ = port.accept()
            with client:
                client.sendall(b"SSH-2.0-OpenSSH_10.0\r\n")
                client.recv(1000)

        thread = threading.Thread(target=greet)
        thread.start()
        yield f"http://127.0.0.1:{port.getsockname()[1]}/"
        thread.join()


def test_everything_that_answers_is_fine(server: Server) -> None:
    server.pages = {f"/{status}": (status, b"") for status in (200, 401, 403, 405, 429)}
    urls = [f"{server.url}{path}" for path in server.pages]
    assert answered("check_urls", urls=urls, ca="") == {}
    # Only heads are asked for: an installer has 90 MB.
    assert sorted(server.requests) == sorted(f"HEAD {path}" for path in server.pages)


def test_what_does_not_answer_says_why(server: Server, dead_url: str, no_web_server: str) -> None:
    server.pages = {"/broken": (500, b""), "/busy": (503, b"")}
    urls = [f"{server.url}/no", f"{server.url}/broken", f"{server.url}/busy"]
    found = answered("check_urls", urls=[*urls, dead_url, no_web_server], ca="")
    assert found == {
        urls[0]: "404 Not Found",
        urls[1]: "500 Internal Server Error",
        urls[2]: "503 Service Unavailable",
        dead_url: "Connection refused",
        no_web_server: "it does not speak HTTP",
    }


def test_files_of_the_box(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()
    urls = [f"file://{there}", f"file://{tmp_path}/missing"]
    assert answered("check_urls", urls=urls, ca="") == {urls[1]: "there is no such file"}


def test_nothing_to_ask() -> None:
    assert answered("check_urls", urls=[], ca="") == {}


def test_an_unknown_authority_is_a_problem_until_it_is_declared(
    server: Server, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "CA_BUNDLE", str(tmp_path))
    server.pages["/"] = (200, b"")
    url = f"{authority.url}/"
    found = check_urls.problems([url], "")
    assert set(found) == {url}
    assert "certificate verify failed" in found[url]
    assert check_urls.problems([url], authority.pem) == {}


def test_a_box_without_authorities_asks_only_whether_somebody_answers(
    server: Server, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "CA_BUNDLE", str(tmp_path / "no"))
    server.pages["/"] = (200, b"")
    urls = [f"{authority.url}/", f"{authority.url}/no"]
    assert check_urls.problems(urls, "") == {urls[1]: "404 Not Found"}
