"""The program that fetches a file: kept when its hash is right, and not a trace of it otherwise."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from tests.unit.conftest import Authority, Server
from tests.unit.remote import call, module

fetch = module("fetch")
trust = module("trust")

CONTENT = b"#!/bin/sh\n" + b"x" * 3_000_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    return tmp_path / "cache" / f"{SHA256}.sh"


def test_a_file_of_the_right_hash_is_kept_for_root_alone(server: Server, staged: Path) -> None:
    server.pages["/x.sh"] = (200, CONTENT)
    url = f"{server.url}/x.sh"
    done = call("fetch", url=url, sha256=SHA256, path=str(staged), ca="")
    assert (done.returncode, done.stderr) == (0, "")
    assert staged.read_bytes() == CONTENT
    assert stat.S_IMODE(staged.stat().st_mode) == 0o600
    assert stat.S_IMODE(staged.parent.stat().st_mode) == 0o700
    assert list(staged.parent.iterdir()) == [staged]


def test_one_that_is_there_is_not_fetched_again(server: Server, staged: Path) -> None:
    staged.parent.mkdir()
    staged.touch()
    done = call("fetch", url=f"{server.url}/x", sha256=SHA256, path=str(staged), ca="")
    assert done.returncode == 0
    assert server.requests == []


def test_a_wrong_hash_leaves_nothing(server: Server, staged: Path) -> None:
    server.pages["/x.sh"] = (200, b"something else")
    url, found = f"{server.url}/x.sh", hashlib.sha256(b"something else").hexdigest()
    done = call("fetch", url=url, sha256=SHA256, path=str(staged), ca="")
    assert done.returncode == 1
    assert done.stderr == (
        f"{url} has sha256 {found}, and the settings want {SHA256}: it was not run.\n"
    )
    assert not staged.parent.exists()


def test_a_file_that_is_not_there_leaves_nothing(server: Server, staged: Path) -> None:
    url = f"{server.url}/no.sh"
    done = call("fetch", url=url, sha256=SHA256, path=str(staged), ca="")
    assert done.stderr == f"{url} does not answer from the box: Not Found.\n"
    assert done.returncode == 1
    assert not staged.parent.exists()


def test_a_dead_host_leaves_nothing(dead_url: str, staged: Path) -> None:
    done = call("fetch", url=dead_url, sha256=SHA256, path=str(staged), ca="")
    assert done.stderr == (
        f"{dead_url} does not answer from the box: [Errno 111] Connection refused.\n"
    )
    assert done.returncode == 1
    assert not staged.parent.exists()


def test_a_file_of_the_box_itself(tmp_path: Path, staged: Path) -> None:
    there = tmp_path / "x.sh"
    there.write_bytes(CONTENT)
    assert (
        call("fetch", url=f"file://{there}", sha256=SHA256, path=str(staged), ca="").returncode == 0
    )
    assert staged.read_bytes() == CONTENT


def test_a_place_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    server.pages["/x.sh"] = (200, CONTENT)
    url, path = f"{server.url}/x.sh", tmp_path / "a" / ("n" * 300)
    done = call("fetch", url=url, sha256=SHA256, path=str(path), ca="")
    assert done.stderr == f"{url} could not be fetched to {path}: File name too long.\n"
    assert not path.parent.exists()


def test_what_else_lies_there_stays(server: Server, staged: Path) -> None:
    staged.parent.mkdir()
    (staged.parent / "other").touch()
    call("fetch", url=f"{server.url}/no.sh", sha256=SHA256, path=str(staged), ca="")
    assert [path.name for path in staged.parent.iterdir()] == ["other"]


# --- TLS ---


def test_an_unknown_authority_is_refused_and_a_declared_one_trusted(
    server: Server,
    authority: Authority,
    staged: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trust, "CA_BUNDLE", str(tmp_path))
    server.pages["/x.sh"] = (200, CONTENT)
    with pytest.raises(SystemExit, match="certificate verify failed"):
        fetch.fetch(f"{authority.url}/x.sh", SHA256, str(staged), "")
    assert not staged.exists()
    fetch.fetch(f"{authority.url}/x.sh", SHA256, str(staged), authority.pem)
    assert staged.read_bytes() == CONTENT


def test_a_box_without_authorities_goes_by_the_hash(
    server: Server,
    authority: Authority,
    staged: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trust, "CA_BUNDLE", str(tmp_path / "no"))
    server.pages["/x.sh"] = (200, CONTENT)
    with pytest.raises(SystemExit, match="has sha256"):
        fetch.fetch(f"{authority.url}/x.sh", "0" * 64, str(staged), "")
    fetch.fetch(f"{authority.url}/x.sh", SHA256, str(staged), "")
    assert staged.read_bytes() == CONTENT
