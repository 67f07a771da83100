"""The program that reads kernelspecs, on good ones and on what is none."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import answered, call

SPEC = {"argv": ["python", "-m", "ipykernel_launcher"], "display_name": "Python 3"}


def published(kernels: Path) -> dict[str, Any]:
    """What is published in a directory."""
    found: dict[str, Any] = state(kernels=str(kernels))["published"]
    return found


ASKED: dict[str, Any] = {
    "kernels": "/nowhere",
    "others": [],
    "conda_root": "/nowhere",
    "environments": [],
    "releases": {},
    "keep": None,
}


def state(**asked: Any) -> Any:
    """What the program answers."""
    return answered("kernelspec_state", **{**ASKED, **asked})


def put(directory: Path, text: str) -> Path:
    """A kernel.json."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "kernel.json").write_text(text)
    return directory / "kernel.json"


def test_a_box_without_kernels(tmp_path: Path) -> None:
    assert published(tmp_path / "kernels") == {}


def test_kernelspecs_come_whole(tmp_path: Path) -> None:
    put(tmp_path / "python3", json.dumps({**SPEC, "metadata": {"a": 1}}))
    assert published(tmp_path) == {"python3": {**SPEC, "metadata": {"a": 1}}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        '"argv"',
        "null",
        "{}",
        '{"argv": []}',
        '{"argv": "python"}',
        '{"argv": [3]}',
        '{"argv": ["python"], "env": null}',
        '{"argv": ["python"], "metadata": []}',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_what_is_no_kernelspec_is_none(tmp_path: Path, text: str) -> None:
    path = put(tmp_path / "x", "")
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert published(tmp_path) == {"x": None}


def test_a_hundred_megabytes_are_not_read(tmp_path: Path) -> None:
    path = put(tmp_path / "x", "")
    with path.open("w") as file:
        # A valid one: only its size speaks against it.
        file.write('{"argv": ["')
        for _ in range(100):
            file.write("x" * (1 << 20))
        file.write('"]}')
    assert published(tmp_path) == {"x": None}


def test_a_directory_without_one_and_a_file_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "README").touch()
    (tmp_path / "strange/kernel.json").mkdir(parents=True)
    assert published(tmp_path) == {"empty": None, "strange": None}


def test_one_that_may_not_be_read_is_none() -> None:
    with tempfile.TemporaryDirectory() as directory:
        # pytest's own are closed to others, and root reads everything.
        Path(directory).chmod(0o755)
        put(Path(directory, "x"), json.dumps(SPEC)).chmod(0)
        done = call(
            "kernelspec_state",
            as_user=65534 if os.geteuid() == 0 else None,
            **{**ASKED, "kernels": directory},
        )
    assert json.loads(done.stdout)["published"] == {"x": None}


def test_an_environment_offers_what_its_release_brings(tmp_path: Path) -> None:
    prefix = tmp_path / "releases/r/aaa"
    put(prefix / "share/jupyter/kernels/ir", json.dumps(SPEC))
    put(prefix / "share/jupyter/kernels/broken", "no")
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/r").symlink_to("../releases/r/aaa")
    assert state(conda_root=str(tmp_path), environments=["r", "unbuilt"]) == {
        "published": {},
        "offered": {
            "r": {"prefix": str(prefix), "specs": {"ir": SPEC}},
            "unbuilt": {"prefix": str(tmp_path / "envs/unbuilt"), "specs": {}},
        },
        "surplus": {},
    }


def test_a_root_behind_a_link_is_spoken_of_as_it_really_lies(tmp_path: Path) -> None:
    disk, root = tmp_path / "disk", tmp_path / "conda"
    put(disk / "releases/r/aaa/share/jupyter/kernels/ir", json.dumps(SPEC))
    (disk / "envs").mkdir()
    (disk / "envs/r").symlink_to("../releases/r/aaa")
    root.symlink_to(disk)
    [offer] = state(conda_root=str(root), environments=["r"])["offered"].values()
    assert offer == {"prefix": f"{disk}/releases/r/aaa", "specs": {"ir": SPEC}}


def test_a_release_is_read_in_place_of_the_current_one(tmp_path: Path) -> None:
    for release in ("aaa", "bbb"):
        put(tmp_path / f"releases/r/{release}/share/jupyter/kernels/{release}", json.dumps(SPEC))
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/r").symlink_to("../releases/r/bbb")
    found = state(conda_root=str(tmp_path), environments=["r"], releases={"r": "aaa"})
    assert found["offered"]["r"] == {
        "prefix": str(tmp_path / "releases/r/aaa"),
        "specs": {"aaa": SPEC},
    }


def test_too_many_releases_come_with_the_kernelspecs_that_name_them(tmp_path: Path) -> None:
    root, kernels, others = tmp_path / "conda", tmp_path / "kernels", tmp_path / "others"
    for age, release in enumerate(["aaa", "aaa-2", "bbb", "ccc"]):
        record = root / "releases/r" / release / "release.json"
        record.parent.mkdir(parents=True)
        record.touch()
        os.utime(record, (age, age))
    (root / "envs").mkdir()
    (root / "envs/r").symlink_to("../releases/r/ccc")
    for place, release in ((kernels / "r", "bbb"), (others / "mine", "aaa-2")):
        put(place, json.dumps({"argv": [f"{root}/releases/r/{release}/bin/R"]}))
    put(others / "broken", f"{{ {root}/releases/r/aaa")
    # As a hub's release has it.
    (tmp_path / "link").symlink_to(kernels)
    asked = {
        "kernels": str(kernels),
        "others": [str(tmp_path / "link"), str(others), "/nowhere"],
        "conda_root": str(root),
        "environments": ["r", "unbuilt"],
    }
    assert state(**asked, keep=1)["surplus"] == {
        # What nobody can start from may be mended, and then it can.
        "r": {
            "aaa": [str(others / "broken")],
            "aaa-2": [str(others / "mine")],
            "bbb": [str(kernels / "r")],
        }
    }
    assert list(state(**asked, keep=3)["surplus"]["r"]) == ["aaa"]
    assert state(**asked, keep=4)["surplus"] == {}
