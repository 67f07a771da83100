"""The program that solves the hub's requirements anew, with a uv that says what it is told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import call

SOLVED = "six==2.0 \\\n    --hash=sha256:0\n    # via -r -\njupyter-client==8.1 ; extra\n"
UV = (
    '#!/bin/sh\ncat > {folder}/asked; echo "$@" >> {folder}/asked; cat {folder}/says; exit {code}\n'
)


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """A directory of releases; `a` is current and has what the solve comes to, and pip."""
    (tmp_path / "says").write_text(SOLVED)
    for name in ("a", "a-2"):
        (tmp_path / "releases" / name / "bin").mkdir(parents=True)
        has(tmp_path / "releases" / name, Jupyter_Client="8.1", six="2.0", pip="26")
    uv = tmp_path / "releases/a/bin/uv"
    uv.write_text(UV.format(folder=tmp_path, code=0))
    uv.chmod(0o755)
    return tmp_path / "releases"


def has(prefix: Path, declared: str = "a", **packages: str) -> None:
    """Have a release with these packages."""
    record = {"declared": declared, "packages": packages}
    (prefix / "release.json").write_text(json.dumps(record))


def solve(releases: Path) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    return call(
        "solve_hub",
        releases=str(releases),
        current="a",
        declared="a",
        requirements="six\njupyter-client\n",
        python_index="https://example.org/simple",
    )


def found(releases: Path) -> Any:
    """The release that has what is solved."""
    answer = json.loads(solve(releases).stdout)
    assert answer["requirements"] == SOLVED
    return answer["release"]


def test_the_current_release_has_it_already(releases: Path) -> None:
    assert found(releases) == "a"
    requirements, options = (releases.parent / "asked").read_text().rsplit("\n", 2)[:2]
    assert requirements == "six\njupyter-client"
    assert "--generate-hashes" in options
    assert "--default-index https://example.org/simple" in options


def test_another_release_for_the_same_settings_has_it(releases: Path) -> None:
    has(releases / "a", six="1.9", Jupyter_Client="8.1")
    assert found(releases) == "a-2"
    has(releases / "a-2", "of other settings", six="2.0", Jupyter_Client="8.1")
    assert found(releases) is None


@pytest.mark.parametrize("record", ["{", "[]", '{"packages": 1}', '{"packages": {"six": "2.0"}}'])
def test_a_release_that_cannot_be_read_or_lacks_some_has_it_not(
    releases: Path, record: str
) -> None:
    for name in ("a", "a-2"):
        (releases / name / "release.json").write_text(record)
    assert found(releases) is None


def test_what_cannot_be_solved_is_told(releases: Path) -> None:
    uv = releases / "a/bin/uv"
    uv.write_text("#!/bin/sh\necho 'no such package: sixx' >&2; exit 1\n")
    done = solve(releases)
    assert done.returncode == 1
    assert done.stderr == "the hub's requirements cannot be solved:\nno such package: sixx\n"
