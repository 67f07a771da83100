"""The program that publishes a kernelspec, with its logos and at one stroke."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import answered, call

SPEC = {"argv": ["/p/bin/python"], "display_name": "Pythön", "metadata": {}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A kernelspec as an environment brings it."""
    directory = tmp_path / "source"
    (directory / "nested").mkdir(parents=True)
    (directory / "kernel.json").write_text('{"argv": ["theirs"]}')
    (directory / "logo-64x64.png").write_bytes(b"\x89PNG")
    (directory / "kernel.js").write_text("define()")
    return directory


def publish(tmp_path: Path, source: Path, spec: dict[str, Any] | None = None) -> Path:
    done = call(
        "publish_kernelspec",
        kernels=str(tmp_path / "share/kernels"),
        name="x",
        spec=spec or SPEC,
        source=str(source),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return tmp_path / "share/kernels/x"


def test_it_lies_there_with_its_logos_for_everybody(tmp_path: Path, source: Path) -> None:
    published = publish(tmp_path, source)
    assert json.loads((published / "kernel.json").read_text()) == SPEC
    assert (published / "logo-64x64.png").read_bytes() == b"\x89PNG"
    assert sorted(path.name for path in published.iterdir()) == [
        "kernel.js",
        "kernel.json",
        "logo-64x64.png",
    ]
    for path in (published, published.parent, *published.iterdir()):
        others = stat.S_IMODE(path.stat().st_mode) & 0o007
        assert others == (0o5 if path.is_dir() else 0o4)


def test_a_second_one_takes_its_place(tmp_path: Path, source: Path) -> None:
    publish(tmp_path, source)
    other = {**SPEC, "argv": ["/q/bin/python"]}
    published = publish(tmp_path, source, other)
    assert json.loads((published / "kernel.json").read_text()) == other


def test_what_is_published_is_what_is_read_back(tmp_path: Path, source: Path) -> None:
    published = publish(tmp_path, source)
    there = answered(
        "kernelspec_state",
        kernels=str(published.parent),
        others=[],
        conda_root="/nowhere",
        environments=[],
        releases={},
        keep=3,
    )
    assert there["published"] == {"x": SPEC}
