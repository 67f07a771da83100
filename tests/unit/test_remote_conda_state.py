"""The program that reads conda's root, on roots of every shape."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import answered


def environments(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = answered("conda_state", root=str(root))["environments"]
    return found


def release(root: Path, name: str, identity: str, complete: bool = True) -> Path:
    """A release of an environment."""
    prefix = root / "releases" / name / identity
    prefix.mkdir(parents=True)
    if complete:
        (prefix / "release.json").write_text("{}")
    return prefix


def link(root: Path, name: str, target: str) -> None:
    """An environment's link."""
    (root / "envs").mkdir(exist_ok=True)
    (root / "envs" / name).symlink_to(target)


def install(root: Path) -> None:
    """What tells that conda is installed."""
    for path in ("conda-meta/history", "bin/conda"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    nowhere = tmp_path / "conda"
    assert answered("conda_state", root=str(nowhere)) == {
        "installed": False,
        "owned": True,
        "environments": {},
    }


def test_half_a_conda_is_none(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta/history").touch()
    assert answered("conda_state", root=str(tmp_path))["installed"] is False

    install(tmp_path)
    assert answered("conda_state", root=str(tmp_path))["installed"] is True

    # The installer was interrupted after it had made both.
    (tmp_path / ".jupyterbox-installing").touch()
    assert answered("conda_state", root=str(tmp_path))["installed"] is False


def test_an_environment_is_at_the_release_that_its_link_names(tmp_path: Path) -> None:
    release(tmp_path, "python3", "aaa")
    release(tmp_path, "python3", "bbb")
    release(tmp_path, "python3", "ccc", complete=False)
    link(tmp_path, "python3", "../releases/python3/bbb")
    assert environments(tmp_path) == {
        "python3": {
            "current": "bbb",
            "previous": "aaa",
            "plain": False,
            "complete": ["aaa", "bbb"],
        }
    }


def test_a_release_that_nothing_names_yet(tmp_path: Path) -> None:
    release(tmp_path, "r", "aaa")
    found = environments(tmp_path)["r"]
    assert (found["current"], found["complete"]) == (None, ["aaa"])


def test_a_directory_made_by_hand_is_plain(tmp_path: Path) -> None:
    (tmp_path / "envs/mine").mkdir(parents=True)
    assert environments(tmp_path) == {
        "mine": {"current": None, "previous": None, "plain": True, "complete": []}
    }


def test_the_previous_release_is_the_one_that_was_left_last(tmp_path: Path) -> None:
    for identity in ("aaa", "bbb", "ccc", "ddd"):
        release(tmp_path, "python3", identity)
    link(tmp_path, "python3", "../releases/python3/aaa")
    # A run died between the note and the switch: `aaa` was not left at last.
    (tmp_path / "releases/python3/.history").write_text("ddd\nbbb\naaa\n")
    assert environments(tmp_path)["python3"]["previous"] == "bbb"


def test_a_link_that_leads_elsewhere_is_at_no_release(tmp_path: Path) -> None:
    release(tmp_path, "other", "aaa")
    link(tmp_path, "python3", "../releases/other/aaa")
    link(tmp_path, "away", "/usr")
    found = environments(tmp_path)
    assert found["python3"]["current"] is None
    assert (found["away"]["current"], found["away"]["plain"]) == (None, False)


def test_what_conda_leaves_beside_the_environments_is_none(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/.conda_envs_dir_test").touch()
    assert environments(tmp_path) == {}


def test_a_root_behind_a_link_is_the_same(tmp_path: Path) -> None:
    real = tmp_path / "disk"
    release(real, "python3", "aaa")
    link(real, "python3", "../releases/python3/aaa")
    (tmp_path / "conda").symlink_to(real)
    assert environments(tmp_path / "conda")["python3"]["current"] == "aaa"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that nobody else can change")
@pytest.mark.parametrize("path", [".", "bin", "bin/conda"])
def test_a_conda_that_others_can_change_is_not_roots(tmp_path: Path, path: str) -> None:
    install(tmp_path)
    for place in (tmp_path, tmp_path / "bin", tmp_path / "bin/conda"):
        place.chmod(0o755)
    assert answered("conda_state", root=str(tmp_path))["owned"] is True

    (tmp_path / path).chmod(0o775)
    assert answered("conda_state", root=str(tmp_path))["owned"] is False
    (tmp_path / path).chmod(0o755)
    os.chown(tmp_path / path, 65534, -1)
    assert answered("conda_state", root=str(tmp_path))["owned"] is False
