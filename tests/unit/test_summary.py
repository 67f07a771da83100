"""What a run says at its end: what it changed, and where the time went."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import pytest
from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.connect import disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.context import ctx_host, ctx_state

from jupyterbox.program import Commands
from operations import summary
from tests.unit.engine import engine


@operation()
def looks() -> Commands:
    """Change nothing."""
    host.noop("there is nothing to do")
    yield from ()


@operation()
def changes(seconds: float) -> Commands:
    """Change something, for a while."""
    clock[0] += seconds
    yield "true"


@operation()
def fails() -> Commands:
    """Fail."""
    clock[0] += 1
    yield "false"


clock = [0.0]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Any:
    """Runs operations, with a clock that only they move, and returns what is said at the end."""
    monkeypatch.setattr(summary.time, "monotonic", lambda: clock[0])
    caplog.set_level(logging.INFO, "pyinfra")
    logging.getLogger("pyinfra").propagate = True

    def run(*operations: Any, planning: bool = False, run: bool = True) -> list[str]:
        with engine({"false": {"success": False}}, planning) as state:
            [box] = state.inventory
            with ctx_state.use(state), ctx_host.use(box):
                # A file may be loaded once a box.
                summary.at_the_end()
                summary.at_the_end()
            for name, op, arguments in operations:
                add_op(state, op, name=name, **arguments)
            caplog.clear()
            if run:
                with suppress(PyinfraError):
                    run_ops(state)
            caplog.clear()
            disconnect_all(state)
        return [record.getMessage() for record in caplog.records]

    return run


def test_the_longest_comes_first_and_the_rest_in_a_line(said: Any) -> None:
    assert said(
        ("Look", looks, {}),
        ("A", changes, {"seconds": 2}),
        ("B", changes, {"seconds": 71.26}),
        ("Look again", looks, {}),
    ) == [
        "--> @fake/box, where the time went:",
        "       71.3 s  B: done",
        "        2.0 s  A: done",
        "        0.0 s  to find that 2 others had nothing to do",
    ]


def test_what_failed_is_named(said: Any) -> None:
    assert said(("A", changes, {"seconds": 2}), ("B", fails, {})) == [
        "--> @fake/box, where the time went:",
        "        2.0 s  A: done",
        "        1.0 s  B: failed",
    ]


def test_a_plan_says_nothing(said: Any) -> None:
    assert said(("A", changes, {"seconds": 2}), planning=True, run=False) == []


def test_a_run_that_has_changed_nothing_speaks_of_no_others(said: Any) -> None:
    assert said(("Look", looks, {}), ("Look again", looks, {})) == [
        "--> @fake/box, where the time went:",
        "        0.0 s  to find that all 2 operations had nothing to do",
    ]
