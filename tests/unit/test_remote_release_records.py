"""The program that reads what current releases were built of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import answered

FILE = {"url": "https://x/six.conda", "md5": "0", "sha256": "1"}
PIP = [{"name": "rich", "version": "15.0.0", "source": None, "hashes": ["2"]}]
RECORD = {"mirror": "https://x", "packages": [{**FILE, "name": "six"}], "pip": PIP}


def release(root: Path, text: str) -> None:
    """An environment's current release with this record."""
    prefix = root / "releases/x/aaa"
    prefix.mkdir(parents=True)
    (prefix / "release.json").write_text(text)
    (root / "envs").mkdir()
    (root / "envs/x").symlink_to("../releases/x/aaa")


def record(root: Path) -> Any:
    return answered("release_records", root=str(root), environments=["x"])["x"]


def test_a_release_is_told_by_its_files(tmp_path: Path) -> None:
    release(tmp_path / "disk", json.dumps(RECORD))
    (tmp_path / "conda").symlink_to(tmp_path / "disk")
    expected = {"release": "aaa", "mirror": "https://x", "conda": [FILE], "pip": PIP}
    assert record(tmp_path / "conda") == expected


def test_one_of_before_locks_lacks_what_they_need(tmp_path: Path) -> None:
    release(tmp_path, json.dumps({"packages": [FILE]}))
    assert record(tmp_path) == {"release": "aaa", "mirror": None, "conda": [FILE], "pip": None}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"packages": 3}', '{"packages": [3]}'])
def test_a_record_that_is_none(tmp_path: Path, text: str) -> None:
    release(tmp_path, text)
    assert record(tmp_path) is None


def test_what_is_no_release(tmp_path: Path) -> None:
    assert record(tmp_path) is None
    (tmp_path / "envs/x").mkdir(parents=True)
    assert record(tmp_path) is None
