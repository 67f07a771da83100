"""One run at a time: who is refused, in which words, and what is asked of the box for it."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
from pyinfra.api.exceptions import FactProcessError, OperationError

from facts.turn import Turn
from operations import preflight, turn
from tests.unit.box import DEPLOYED, converged
from tests.unit.engine import engine, fact, run

HELD = """\
held=4711 1234567
process=4711
started=1234567
by=ada@laptop
login=root
address=192.0.2.7
since=2026-11-23 21:05 UTC
"""
TAKEN, CHANGED, FREE = (f"verdict={verdict}\n{HELD}" for verdict in ("taken", "changed", "free"))
AT_WORK = (
    "another run is at work on this box: ada@laptop (as root from 192.0.2.7) since "
    "2026-11-23 21:05 UTC, process 4711. Wait for it, or end it there with `kill 4711`."
)
BEEN_AT_WORK = (
    "another run has been at work on this box since this one was planned: ada@laptop (as root from "
    "192.0.2.7) since 2026-11-23 21:05 UTC. Run this again, to see what it changes now."
)
LOOKS, TAKES = "take='';", "take=yes;"


def said(refused: list[Any]) -> str:
    """What an operation that is executed refuses with."""
    [(command, connector)] = refused
    assert connector == {"_sudo": False}
    return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True).stderr


def test_a_plan_looks_and_an_execution_takes() -> None:
    never: Any = {"success": False}
    assert run(turn.take, says={LOOKS: FREE, TAKES: FREE}) == []
    assert run(turn.take, says={LOOKS: never, TAKES: FREE}, planning=False) == []
    with engine({LOOKS: FREE, TAKES: never}):
        pass


def test_while_another_run_is_at_work_nothing_is_planned() -> None:
    with pytest.raises(OperationError, match="is not ready:") as caught:
        run(turn.take, says={LOOKS: TAKEN})
    assert AT_WORK in str(caught.value)


def test_while_another_run_is_at_work_nothing_is_executed() -> None:
    assert said(run(turn.take, says={TAKES: TAKEN}, planning=False)) == f"- {AT_WORK}\n"


def test_what_another_run_has_changed_since_is_planned_anew() -> None:
    with pytest.raises(AssertionError, match="the plan said otherwise"):
        run(turn.take, says={LOOKS: FREE, TAKES: CHANGED})
    assert said(run(turn.take, says={TAKES: CHANGED}, planning=False)) == f"- {BEEN_AT_WORK}\n"


@pytest.mark.parametrize(("planning", "seen"), [(True, "seen='4711 1234567'"), (False, "seen=-")])
def test_an_execution_knows_what_its_own_plan_has_seen(planning: bool, seen: str) -> None:
    says = {seen: FREE, TAKES: TAKEN, LOOKS: FREE}
    assert run(turn.take, says=says, planning=planning) == []


def test_a_run_on_the_box_itself_names_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with engine({}) as state:
        [host] = state.inventory
        monkeypatch.setattr(turn, "host", host)
        assert turn.question() == {"process": None}
        monkeypatch.setattr(host, "name", "@local")
        assert turn.question() == {"process": os.getpid()}


def test_an_account_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4242")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("socket.gethostname", lambda: "ci")
    assert turn.operator() == f"{os.getuid()}@ci"


def test_a_deploy_says_it_before_all_else() -> None:
    says = converged()
    says["@@architecture"] = says["@@architecture"].replace("ID=debian", "ID=plan9")
    says["@@architecture"] += f"\n@@turn\n{TAKEN}"
    with pytest.raises(OperationError) as caught:
        run(preflight.check, box=DEPLOYED, says=says)
    assert str(caught.value).split("\n")[1:] == [f"  - {AT_WORK}"]


def test_a_deploy_takes_its_turn_without_a_command_of_its_own() -> None:
    says = converged()
    told = says.pop("@@architecture")
    says = {TAKES: f"{told}\n@@turn\n{TAKEN}", LOOKS: f"{told}\n@@turn\n{FREE}", **says}
    assert AT_WORK in said(run(preflight.check, box=DEPLOYED, says=says, planning=False))


def test_garbage_is_no_turn() -> None:
    with pytest.raises(FactProcessError):
        Turn().process(["sh: 1: cannot fork"])
    assert fact(Turn, {LOOKS: TAKEN})["by"] == "ada@laptop"
