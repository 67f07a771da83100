"""An adoption that is killed at any of its steps: nothing is lost, and the next one ends it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.conftest import Server
from tests.unit.test_remote_adopt import CONFIG, OURS, Article, users
from tests.unit.test_remote_hub_activity import recorded_database

__all__ = ["recorded_database"]  # a fixture

# What changes a file, or asks somebody else to: Python says each before it is done.
CUT = """\
import os, signal, sys
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.chown",
           "shutil.copyfile", "sqlite3.connect", "subprocess.Popen", "ctypes.dlsym")
left = {at}
def step(event, given):
    global left
    writes = event == "open" and str(given[0]).startswith("{folder}/") and given[2] & os.O_ACCMODE
    if writes or event in CHANGES:
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(step)
"""
STRIDE = 1 if os.environ.get("JUPYTERBOX_TEST_EVERY_CUT") else 13
"""Of so many steps one is cut; each takes minutes, and is for who changes the program."""


def articles(folder: Path, url: str, database: bytes, same: bool) -> Iterator[Article]:
    """A box that was made by hand, again and again; its database where the new hub has its own."""
    number = 0
    while number := number + 1:
        (folder / str(number)).mkdir()
        made = Article(folder / str(number), url, database)
        made.write("share/jupyter/kernels/r/kernel.json", "{}")
        if same:
            made.place.rename(made.folder / "unused")
            (made.folder / "unused/jupyterhub.sqlite").rename(made.state / "jupyterhub.sqlite")
            made.place.symlink_to(made.state)
            secret = made.folder / "unused/jupyterhub_cookie_secret"
            secret.rename(made.state / secret.name)
        yield made


def cut(made: Article, at: int) -> bool:
    """Run until before a step; whether that came."""
    process = made.started(CUT.format(at=at, folder=made.folder))
    process.communicate(timeout=60)
    return process.returncode == -9


def seen_as_new(made: Article, before: list[str]) -> None:
    """The new hub is in its place, and all of the old one is kept."""
    assert made.by_hand() == {"hub": None, "commands": True}
    assert users(made.state / "jupyterhub.sqlite") == before
    assert (made.state / "cookie_secret").read_text() == "the old secret"
    assert made.unit.read_text().startswith(OURS)
    assert (made.root / "etc/jupyterhub/jupyterhub_config.py").read_text().startswith(OURS)
    assert (made.kept / "etc/jupyterhub/jupyterhub_config.py").read_text() == CONFIG
    assert (made.kept / "bin/jupyterhub").read_text() == "old"
    assert users(made.kept / "jupyterhub.sqlite") == before
    for kernel in ("python", "r"):
        assert (made.kept / "kernels" / kernel / "kernel.json").exists()
        assert (made.root / "share/jupyter/kernels" / kernel / "kernel.json").exists()
    for left in ("kept.*", "kept/*.new", "kept/*.gone"):
        assert not list(made.folder.glob(left))


def seen_as_old(made: Article, before: list[str]) -> None:
    """The hub that was made by hand is as it was."""
    found = made.by_hand()["hub"]
    assert (found["taken_over"], found["users"]) == (False, before)
    assert made.unit.resolve().read_text().startswith("[Service]")
    assert (made.root / "etc/jupyterhub/jupyterhub_config.py").read_text() == CONFIG
    assert (made.root / "bin/jupyterhub").read_text() == "old"
    assert (made.place / "jupyterhub_cookie_secret").read_text() == "the old secret"
    assert made.calls()[-1] == "enable --now jupyterhub.service"


@pytest.mark.parametrize("same", [False, True], ids=["database in /", "database of both"])
@pytest.mark.parametrize("then, first_cut", [("new, new", 1), ("old, new", 5), ("old, old", 9)])
def test_nothing_is_lost(
    tmp_path: Path,
    server: Server,
    recorded_database: bytes,
    then: str,
    first_cut: int,
    same: bool,
) -> None:
    """`then` is what answers in the end: of the run that is killed, and of the one after it."""
    server.pages["/health"] = (200, b"")
    first, second = then.split(", ")
    urls = {"new": f"{server.url}/health", "old": f"{server.url}/nothing"}
    at, cuts = min(first_cut, STRIDE) + 2 * same, 0
    for made in articles(tmp_path, urls[first], recorded_database, same):
        before = users(made.place / "jupyterhub.sqlite")
        if not cut(made, at):
            break
        at, cuts, made.url = at + STRIDE, cuts + 1, urls[second]
        done = made.adopt()
        assert done.returncode == (second == "old"), f"cut before step {at - STRIDE}: {done.stderr}"
        (seen_as_new if second == "new" else seen_as_old)(made, before)
    assert cuts > 5
    print(f"{cuts} of {cuts} cuts survived, one of {STRIDE} steps")
