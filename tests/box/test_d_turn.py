"""Two runs at once: the second stops with who is at work; one that died is in nobody's way."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.box.conftest import PYINFRA, Operator

pytestmark = pytest.mark.once


@contextmanager
def half_way(box: Operator, user: str) -> Iterator[subprocess.Popen[str]]:
    """A deploy that has begun and stands still; it is killed at the end."""
    with box.start("-y", "deploy.py", user=user) as run:
        try:
            assert run.stderr
            assert any("operation: Packages |" in line for line in run.stderr)
            run.send_signal(signal.SIGSTOP)
            yield run
        finally:
            run.kill()


def refusal(run: subprocess.CompletedProcess[str]) -> str:
    """Why a run has stopped; it has nothing to say but that."""
    assert run.returncode == 1
    [problem] = re.findall(r"^ +(?:\[127\.0\.0\.1\] )?- (.*)$", run.stderr, re.MULTILINE)
    return str(problem)


@pytest.mark.parametrize("user", ["root", "ops"])
def test_a_second_run_stops_until_the_first_is_dead(box: Operator, user: str) -> None:
    box.deploy()
    with half_way(box, user):
        planned = refusal(box.pyinfra("--dry", "deploy.py"))
        executed = refusal(box.pyinfra("-y", "tasks/reboot.py", "--data", "force=yes"))
    told = re.fullmatch(
        rf"another run is at work on this box: \S+@\S+ \(as {user} from 127\.0\.0\.1\) since "
        r"20..-..-.. ..:.. UTC, process (\d+)\. Wait for it, or end it there with `kill \1`\.",
        planned,
    )
    assert told and executed == planned
    # sshd needs a moment to see that its peer is gone.
    box.sh(f"timeout 30 tail --pid={told[1]} -f /dev/null")
    assert box.deploy()["success"] == 0


def test_the_message_tells_how_to_end_the_other_run(box: Operator) -> None:
    with half_way(box, "ops") as first:
        command = re.search(r"`(kill \d+)`", refusal(box.pyinfra("--dry", "deploy.py")))
        assert command
        box.sh(f"{command[1]} && timeout 30 tail --pid={command[1].split()[1]} -f /dev/null")
        assert box.deploy()["success"] == 0
        first.send_signal(signal.SIGCONT)
        _, said = first.communicate(timeout=120)
        assert first.returncode == 1, said


def test_a_plan_is_not_executed_once_another_run_has_been_at_work(
    box: Operator, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    enter = f"until [ -e {asked} ]; do sleep 0.1; done; echo"
    program = ["/bin/sh", "-c", f'({enter}) | "$@"', "sh", PYINFRA]
    with box.start("deploy.py", program=program) as run:
        try:
            assert run.stderr
            assert any("Detected changes displayed above" in line for line in run.stderr)
            box.deploy()
            asked.touch()
            output, errors = run.communicate(timeout=120)
        finally:
            asked.touch()
            run.kill()
    said = refusal(subprocess.CompletedProcess([], run.returncode, output, errors))
    assert said.startswith("another run has been at work on this box since this one was planned: ")
