"""The program that says whether a plain environment holds what is declared, on recorded ones."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.prefixes import CREATED, SITE, make_prefix
from tests.unit.remote import answered

STEMS = [f"{one['name']}-{one['version']}-{one['build']}" for one in CREATED]


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A recorded environment that brings a kernel, and a package from pip."""
    made = make_prefix(tmp_path / "stats")
    kernel = made / "share/jupyter/kernels/python3/kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.touch()
    (made / SITE / "Jax_Lib-0.4.30.dist-info").mkdir()
    return made


def asked(prefix: Path, **declared: Any) -> Any:
    arguments: dict[str, Any] = {"conda": [], "pip": [], "stems": [], **declared}
    return answered("holding", prefix=str(prefix), **arguments)


def test_what_is_in_it_is_not_lacking(prefix: Path) -> None:
    found = asked(prefix, conda=["python=3.11", "ipykernel"], pip=["jax-lib>=0.4"])
    assert found == {"lacks": [], "used_by": []}


def test_what_is_lacking_is_named(prefix: Path) -> None:
    found = asked(prefix, conda=["python=3.13", "ipykernel", "numpy"], pip=["jax_lib<0.4", "torch"])
    assert found["lacks"] == ["python=3.13", "numpy", "jax_lib<0.4", "torch"]


def test_a_lock_names_all_that_is_in_it(prefix: Path) -> None:
    assert asked(prefix, stems=STEMS)["lacks"] == []
    assert asked(prefix, stems=[*STEMS, "six-1.17.0-py_0"])["lacks"] == ["six-1.17.0-py_0"]
    assert asked(prefix, stems=STEMS[1:])["lacks"] == [f"no {STEMS[0]}"]


def test_without_a_kernel_it_cannot_be_published(prefix: Path) -> None:
    (prefix / "share/jupyter/kernels/python3/kernel.json").unlink()
    assert asked(prefix, conda=["python"])["lacks"] == ["a kernel"]


def test_who_runs_from_it(prefix: Path) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=prefix) as kernel:
        try:
            found = asked(prefix)
        finally:
            kernel.kill()
    [used] = found["used_by"]
    assert used.startswith(f"sleep (process {kernel.pid}, ")
