"""The switch that the hub and environments have in common."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from operations.releases import prune, switch
from tests.unit.engine import show


def switched(link: Path, target: str) -> None:
    """Run the command on this machine."""
    subprocess.run(["/bin/sh", "-c", switch(str(link), target)], check=True)


def test_a_switch_notes_what_it_leaves(tmp_path: Path) -> None:
    (tmp_path / "releases/python3").mkdir(parents=True)
    link, history = tmp_path / "envs/python3", tmp_path / "releases/python3/.history"
    switched(link, "../releases/python3/a")
    assert not history.exists()
    switched(link, "../releases/python3/b")
    switched(link, "../releases/python3/b")
    switched(link, "../releases/python3/a")
    assert history.read_text() == "a\nb\n"
    assert os.readlink(link) == "../releases/python3/a"
    assert os.listdir(link.parent) == ["python3"]


def test_a_directory_in_its_place_is_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.mkdir()
    command = switch(str(link), "releases/a")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert done.returncode != 0
    assert link.is_dir()


def test_what_is_removed_is_named_without_its_directory() -> None:
    """Whoever looks for processes that name a release does not find this one."""
    command = show(prune("/opt/x/releases", "/opt/x/current", ["a"], beside=["/var/db.{}"]))
    assert command == (
        "prune",
        {
            "directory": "/opt/x/releases",
            "link": "/opt/x/current",
            "names": ["a"],
            "beside": ["/var/db.{}"],
        },
    )
