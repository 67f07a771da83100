"""Files and directories go in an order that can be cut off anywhere and begun again."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jupyterbox.program import program
from tests.unit.remote import call, module

remove = module("remove")
mountinfo = module("mountinfo")


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


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("conda", {"release.json", "history"}),
        ("conda/releases", {"release.json"}),
        ("conda/releases/python3", {"release.json"}),
        ("hub", {"release.json"}),
        ("hub/releases", {"release.json"}),
    ],
)
def test_what_is_half_gone_passes_for_nothing_whole(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, marks: set[str]
) -> None:
    def cut(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", cut)
    assert left(root / name) == marks
    with pytest.raises(KeyboardInterrupt):
        remove.remove([], [str(root / name)])
    assert left(root / name) == set()


def left(directory: Path) -> set[str]:
    """The names of the files in a directory."""
    return {path.name for path in directory.rglob("*") if path.is_file()}


def test_a_release_that_a_link_leads_to_elsewhere_stays_whole(root: Path) -> None:
    theirs = root / "theirs/release.json"
    theirs.parent.mkdir()
    theirs.touch()
    (root / "conda/envs").mkdir()
    (root / "conda/envs/theirs").symlink_to(theirs.parent)
    remove.remove([], [str(root / "conda")])
    assert theirs.exists()


# --- what is mounted ---

MOUNT = "20 1 0:5 / {} rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


def test_what_is_mounted_below_is_found_by_either_path(root: Path, tmp_path: Path) -> None:
    (root / "link").symlink_to(root / "hub")
    table = tmp_path / "mountinfo"
    places = ["/", root / "hub", root / "hub/data\\040sets", root / "hub-2/data"]
    table.write_text("".join(MOUNT.format(place) for place in places))
    assert mountinfo.mounted_below([str(root / "link")], table) == [f"{root}/hub/data sets"]
    assert mountinfo.mounted_below([str(root / "conda")], table) == []
    assert mountinfo.mounted_below([], table) == []


BOUND = "mount --bind {source} {place} && exec {command}"


def test_nothing_goes_while_something_is_mounted_in_it(root: Path) -> None:
    source, place = root / "source", root / "hub/share/datasets"
    (source / "kept").mkdir(parents=True)
    place.mkdir(parents=True)
    command = program("remove", files=[str(root / "hub/current")], directories=[str(root / "hub")])
    script = BOUND.format(source=source, place=place, command=command.get_raw_value())
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"]).returncode:
        pytest.skip("nothing can be mounted here")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == f"{place} cannot be removed: something is mounted there.\n"
    assert (source / "kept").exists()
    assert (root / "hub/releases/77aa/release.json").exists()
    assert (root / "hub/current").is_symlink()


def test_what_is_mounted_meanwhile_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([[], [], [f"{root}/hub/releases"]])
    monkeypatch.setattr(remove, "mounted_below", lambda directories: next(answers))
    (root / "hub/another").mkdir()
    with pytest.raises(OSError, match="something is mounted there"):
        remove.remove([], [str(root / "hub")])
    assert (root / "hub/another").exists() or (root / "hub/releases/77aa").exists()


def test_what_cannot_be_removed_is_one_sentence() -> None:
    done = call("remove", files=["/proc/version"], directories=[])
    assert done.returncode == 1
    assert done.stderr.startswith("/proc/version cannot be removed: ")
    assert len(done.stderr.splitlines()) == 1
