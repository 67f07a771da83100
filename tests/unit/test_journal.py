"""What is made on a box is noted there first: the shell's text runs unchanged, elsewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from jupyterbox import layout
from operations.journal import noting
from tests.unit.remote import module


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal on this machine; the directory that it lies in is not there yet."""
    path = tmp_path / "state/journal"
    monkeypatch.setattr(layout, "STATE", str(path.parent))
    monkeypatch.setattr(layout, "JOURNAL", str(path))
    return path


def note(kind: str, *names: str, unless: str = "") -> int:
    """Run the command; its exit status."""
    command = noting(kind, *names, unless=unless).get_raw_value()
    return subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.DEVNULL).returncode


def test_a_line_is_a_kind_and_a_name_and_root_alone_reads_them(journal: Path) -> None:
    assert note("package", "curl", "g++:amd64") == 0
    assert note("account", "ada") == 0
    assert journal.read_text() == "package curl\npackage g++:amd64\naccount ada\n"
    assert journal.parent.stat().st_mode & 0o777 == 0o700


def test_what_is_there_already_is_not_noted(journal: Path) -> None:
    assert note("conda", "/opt/conda", unless="true") == 0
    assert not journal.exists()
    assert note("conda", "/opt/conda", unless="false") == 0
    assert journal.read_text() == "conda /opt/conda\n"


def test_what_cannot_be_noted_is_not_made(journal: Path) -> None:
    journal.parent.write_text("in the way")
    assert note("package", "curl") != 0
    assert note("conda", "/opt/conda", unless="false") != 0


def test_the_removal_reads_it_each_thing_once_and_minds_no_torn_line(journal: Path) -> None:
    note("package", "curl", "git")
    note("package", "git")
    with journal.open("a") as file:
        file.write("acc")
    assert module("belongings").noted(str(journal)) == {"package": ["curl", "git"]}
    assert module("belongings").noted(str(journal.parent / "none")) == {}
