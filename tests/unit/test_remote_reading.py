"""Reading what anybody may have left there, and answering with it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.remote import module

reading: Any = module("reading")
answering: Any = module("answering")


def reason(path: Path | str, read: Any = None, **arguments: Any) -> str:
    with pytest.raises(reading.Unreadable) as caught:
        (read or reading.read)(path, **arguments)
    return str(caught.value)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert len(reading.read(tmp_path / "a", 3_000_000)) == 3_000_000


def test_a_file_that_tells_no_size_is_read_whole() -> None:
    with open("/proc/kallsyms", "rb") as file:
        assert len(reading.read("/proc/kallsyms", 64 << 20)) == len(file.read())


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert reason(tmp_path / "pipe") == "is not a regular file"
        assert reason("/dev/zero") == "is not a regular file"
        assert reason(tmp_path) == "is not a regular file"
        assert reason(tmp_path / "socket") == "is not a regular file"
        assert reason(tmp_path / "loop").startswith("cannot be read: ")
    assert reason(tmp_path / "none") == "is not there"
    assert reason("a\0b") == "is no path"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(100 << 20)
    assert reason(tmp_path / "large") == "is 100 MB, too large to be one"


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is empty"), (b"\0\0\n", "is empty"), (b"{", "is not JSON"), (b"\xff", "is not JSON")],
)
def test_what_is_no_json_says_so(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a").write_bytes(content)
    assert reason(tmp_path / "a", reading.read_json) == says


def test_deep_json_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("[" * 100_000)
    assert reason(tmp_path / "a", reading.read_json) == "is not JSON"


def test_a_directory_that_is_not_there_has_no_entries(tmp_path: Path) -> None:
    assert reading.entries(tmp_path / "none") == []
    (tmp_path / "file").touch()
    assert reason(tmp_path / "file", reading.entries).startswith("cannot be read: ")
    assert reason("a\0b", reading.entries) == "is no path"


@given(value=st.recursive(st.text() | st.integers(), st.lists))
def test_an_answer_is_ascii_and_says_what_it_was_given(value: Any) -> None:
    assert said(value) == json.loads(json.dumps(value).encode())


def said(value: Any) -> Any:
    """What is printed for a value, read again."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        answering.answer(value)
    assert printed.getvalue().isascii()
    return json.loads(printed.getvalue())


def test_bytes_that_are_no_text_are_shown() -> None:
    assert said({os.fsdecode(b"b\xffd\n"): 1}) == {"b\\xffd\n": 1}
    assert said("lone \ud800 half") == "lone \ufffd half"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is root")
def test_root_is_root() -> None:
    answering.need_root("everything")
