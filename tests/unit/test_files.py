"""Files, directories and links of which all that lies there is ours."""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import FactProcessError

from facts.files import Entries
from operations import files
from tests.unit.engine import run

ASKED = "stat -c '%a %U:%G %F'"
TEXT = "c = 1\n"
HERE = f"/etc/x\n644 root:root regular file\n{hashlib.sha256(TEXT.encode()).hexdigest()}  -"


def entries(*paths: Path) -> Any:
    """What the fact says of real paths."""
    command = str(Entries().command([str(path) for path in paths]))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return Entries().process(done.stdout.splitlines())


def test_what_lies_at_paths(tmp_path: Path) -> None:
    names = ["file", "empty", "link to\nnowhere", "directory", "nothing", "it's a 'file'", "fifo"]
    paths = dict(zip(names, (tmp_path / name.replace("\n", " ") for name in names), strict=True))
    for name in ("file", "empty", "it's a 'file'"):
        paths[name].write_text("" if name == "empty" else TEXT)
        paths[name].chmod(0o640)
    paths["link to\nnowhere"].symlink_to("no\nwhere")
    paths["directory"].mkdir(mode=0o700)
    os.mkfifo(paths["fifo"], 0o600)
    found = entries(*paths.values())
    assert list(found) == [str(path) for path in paths.values()]
    said = {name: found[str(path)] for name, path in paths.items()}
    owner = f"{paths['file'].owner()}:{paths['file'].group()}"
    assert said["file"] == {
        "kind": "regular file",
        "mode": "640",
        "owner": owner,
        "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
        "target": None,
    }
    assert said["it's a 'file'"] == said["file"]
    assert said["empty"]["sha256"] == hashlib.sha256(b"").hexdigest()
    assert (said["link to\nnowhere"]["target"], said["link to\nnowhere"]["sha256"]) == (
        "no?where",
        None,
    )
    assert (said["directory"]["kind"], said["directory"]["mode"]) == ("directory", "700")
    assert (said["fifo"]["kind"], said["fifo"]["sha256"]) == ("fifo", None)
    assert said["nothing"] is None


@pytest.mark.parametrize("output", ["a", "a\nb\nc", "a\n644 root:root regular file"])
def test_what_is_no_answer_is_told(output: str) -> None:
    with pytest.raises(FactProcessError):
        Entries().process(output.splitlines())


def content(there: str | None, **more: Any) -> list[Any]:
    says = {ASKED: there} if there else {}
    return run(files.content, path="/etc/x", text=TEXT, says=says, **more)


def test_a_file_that_is_as_it_shall_be_stays() -> None:
    assert content(HERE) == []


@pytest.mark.parametrize(
    "there",
    [
        None,
        HERE.replace("644", "600"),
        HERE.replace("root:root", "ada:ada"),
        f"/etc/x\n644 root:root regular file\n{'0' * 64}  -",
        "/etc/x\n777 root:root symbolic link\n/etc/y?",
    ],
)
def test_another_file_is_replaced_at_a_stroke(there: str | None) -> None:
    made, put, moved = content(there)
    assert made == "umask 022 && mkdir -p /etc"
    assert put == ("put", "/etc/x.new", TEXT)
    assert moved == (
        "chown root:root /etc/x.new && chmod 644 /etc/x.new && mv -T /etc/x.new /etc/x"
    )


def link(there: str | None) -> list[Any]:
    says = {ASKED: there} if there else {}
    return run(files.link, path="/etc/x", target="/opt/y", says=says)


def test_a_link_that_leads_there_stays() -> None:
    assert link("/etc/x\n777 root:root symbolic link\n/opt/y?") == []


def commands_on(path: Path, commands: list[str]) -> None:
    """Run commands about /etc/x on a path in its place."""
    for command in commands:
        line = command.replace("/etc/x", shlex.quote(str(path)))
        subprocess.run(["sh", "-c", line], check=True, timeout=60)


@pytest.mark.parametrize("there", ["a link", "nothing"])
def test_a_link_is_made_or_turned(tmp_path: Path, there: str) -> None:
    path = tmp_path / "x"
    if there == "a link":
        path.symlink_to(tmp_path)
    said = "/etc/x\n777 root:root symbolic link\n/tmp?" if there == "a link" else None
    commands_on(path, link(said))
    assert os.readlink(path) == "/opt/y"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_file_in_a_links_place_is_kept_beside_it(tmp_path: Path) -> None:
    path, said = tmp_path / "x", HERE
    for text in ("once", "twice"):
        path.unlink(missing_ok=True)
        path.write_text(text)
        commands_on(path, link(said))
        assert os.readlink(path) == "/opt/y"
    kept = sorted(entry.name for entry in tmp_path.iterdir())
    assert kept == ["x", "x.by-hand", "x.by-hand.~1~"]
    assert (tmp_path / "x.by-hand.~1~").read_text() == "once"
    assert (tmp_path / "x.by-hand").read_text() == "twice"


def directory(there: str | None) -> list[Any]:
    says = {ASKED: there} if there else {}
    return run(files.directory, path="/etc/x", mode="700", says=says)


def test_a_directory_is_made_for_its_owner_or_closed(tmp_path: Path) -> None:
    assert directory("/etc/x\n700 root:root directory\n-") == []
    for said in (None, "/etc/x\n755 root:root directory\n-", "/etc/x\n700 ada:ada directory\n-"):
        [command] = directory(said)
        path = tmp_path / "a" / "x"
        commands_on(path, [command.replace("chown root:root", ":")])
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
