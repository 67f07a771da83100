"""What a deploy sends, solves and downloads is counted; how long it takes, `make bench` says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench.boxes import Step
from bench.change import releases
from tests.box.conftest import Operator, Settings

pytestmark = pytest.mark.once

FEW = 20  # remote commands; each costs a round trip or more
FETCHED = "ls -d /opt/conda/pkgs/*"


def counted(box: Operator, record: Path, settings: Settings | None = None) -> list[Step]:
    """Deploy, and return what each operation was."""
    program = (sys.executable, "-m", "bench.counting", str(record))
    run = box.pyinfra("-y", "deploy.py", settings=settings, program=program)
    assert run.returncode == 0, run.stdout + run.stderr
    return [Step(**json.loads(line)) for line in record.read_text().splitlines()]


def test_a_deploy_with_nothing_to_do_sends_few_commands(box: Operator, tmp_path: Path) -> None:
    box.deploy()
    steps = counted(box, tmp_path / "record")
    assert 0 < sum(step.commands for step in steps) <= FEW, steps


def test_a_package_more_solves_one_environment_and_fetches_what_is_new(
    restored: Operator, tmp_path: Path
) -> None:
    box, settings = restored, restored.settings()
    there, fetched = releases(box.machine), box.sh(FETCHED)
    # The other environment has it already.
    settings["environments"][0]["conda"].append("ipywidgets")
    counted(box, tmp_path / "record", settings)
    after = releases(box.machine)
    assert {path: after.get(path) for path in there} == there
    [new] = after.keys() - there.keys()
    assert new.startswith("python3/")
    assert box.sh(FETCHED) == fetched
