"""Files laid, copied and moved by programs: whole, or not there at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import module


@pytest.fixture
def laying() -> Any:
    return module("laying")


@pytest.fixture
def another_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be renamed out of a directory, as from one file system to another."""
    rename = os.rename

    def refused(source: str, target: str) -> None:
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source, None, target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", refused)


@pytest.fixture
def paths(tmp_path: Path) -> tuple[str, str]:
    """A file, and where it shall go, where a run that was killed has left a part of it."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "here/a").write_text("all of it")
    (tmp_path / "here/a").chmod(0o640)
    (tmp_path / "there/a.new").write_text("all")
    return str(tmp_path / "here/a"), str(tmp_path / "there/a")


@pytest.mark.usefixtures("another_file_system")
def test_a_file_moves_to_another_file_system(laying: Any, paths: tuple[str, str]) -> None:
    path, target = paths
    laying.move(path, target)
    assert Path(target).read_text() == "all of it"
    assert Path(target).stat().st_mode & 0o777 == 0o640
    assert not os.path.exists(path)
    assert os.listdir(os.path.dirname(target)) == ["a"]


@pytest.mark.usefixtures("another_file_system")
def test_it_is_there_until_its_copy_is_whole(
    laying: Any, paths: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(laying, "sync", full)
    path, target = paths
    with pytest.raises(OSError, match="No space left"):
        laying.move(path, target)
    assert Path(path).read_text() == "all of it"
    assert not os.path.exists(target)


def test_half_a_copy_of_a_directory_is_not_taken_for_it(laying: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "kernels" / name).mkdir(parents=True)
    (tmp_path / "kept.new/a").mkdir(parents=True)
    (tmp_path / "kept.new/half").touch()
    laying.copy_tree(str(tmp_path / "kernels"), str(tmp_path / "kept"))
    assert sorted(os.listdir(tmp_path / "kept")) == ["a", "b"]
    assert not (tmp_path / "kept.new").exists()


def test_nothing_is_moved_over_what_is_kept(laying: Any, tmp_path: Path) -> None:
    for name in ("root/lib", "kept/lib/was"):
        (tmp_path / name).mkdir(parents=True)
    laying.aside(str(tmp_path / "root/lib"), str(tmp_path / "kept/lib"))
    assert sorted(os.listdir(tmp_path / "kept")) == ["lib", "lib-2"]
    assert (tmp_path / "kept/lib/was").exists()
