"""Files and directories go in an order that can be cut off anywhere and begun again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import call, module

remove = module("remove")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A conda with a release, a hub with one, and a file in a folder of its own."""
    for mark in (
        "conda/conda-meta/history",
        "conda/releases/python3/5d0c/release.json",
        "hub/releases/77aa/release.json",
        "etc/needrestart/conf.d/jupyterbox.conf",
    ):
        (tmp_path / mark).parent.mkdir(parents=True)
        (tmp_path / mark).touch()
    (tmp_path / "hub/current").symlink_to("releases/77aa")
    return tmp_path


def test_everything_goes_and_the_folders_that_nothing_is_left_in(root: Path) -> None:
    file = root / "etc/needrestart/conf.d/jupyterbox.conf"
    arguments: dict[str, Any] = {
        "files": [str(file), str(root / "gone/file")],
        "directories": [str(root / name) for name in ("conda", "hub", "gone")],
        "folders": [str(file.parent), str(root / "gone")],
    }
    for _ in range(2):
        done = call("remove", **arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert [*root.rglob("*")] == [root / "etc"]


def test_a_folder_that_has_something_in_it_or_is_a_packages_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = root / "etc/needrestart/conf.d/jupyterbox.conf"
    (file.parent / "theirs.conf").touch()
    remove.remove([str(file)], [], [str(file.parent)])
    assert file.parent.is_dir() and not file.exists()
    (file.parent / "theirs.conf").unlink()
    monkeypatch.setattr(remove, "packaged", lambda path: True)
    remove.remove([str(file)], [], [str(file.parent)])
    assert file.parent.is_dir()


def test_a_folder_of_a_packages_is_known(root: Path) -> None:
    if not shutil.which("dpkg-query"):
        pytest.skip("no dpkg here")
    assert remove.packaged("/usr/bin")
    assert not remove.packaged(str(root))


def test_a_link_goes_and_not_what_it_leads_to(root: Path) -> None:
    theirs = root / "theirs"
    theirs.mkdir()
    (theirs / "kept").touch()
    (root / "hub/link").symlink_to(theirs)
    remove.remove([], [str(root / "hub")])
    assert (theirs / "kept").exists()


def test_a_directory_on_another_disk_is_emptied(root: Path) -> None:
    (root / "disk").mkdir()
    os.rename(root / "conda", root / "disk/conda")
    (root / "conda").symlink_to(root / "disk/conda")
    remove.remove([], [str(root / "conda")])
    assert (root / "conda").is_symlink()
    assert [*(root / "disk/conda").iterdir()] == []


def test_what_is_half_gone_passes_for_nothing_whole(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", cut)
    for name in ("conda", "hub", "conda/releases/python3", "hub/releases"):
        with pytest.raises(KeyboardInterrupt):
            remove.remove([], [str(root / name)])
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["jupyterbox.conf"]


def test_what_cannot_be_removed_is_one_sentence() -> None:
    done = call("remove", files=["/proc/version"], directories=[])
    assert done.returncode == 1
    assert done.stderr.startswith("/proc/version cannot be removed: ")
    assert len(done.stderr.splitlines()) == 1
