"""What operations ask in turn is asked of the box once, until something has changed there."""

from __future__ import annotations

from typing import Any

import pytest
from pyinfra.api import operation
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops

from jupyterbox.program import Commands
from operations.asking import ask
from tests.unit.engine import engine


class Count(FactBase[dict[str, int]]):
    """How often it has been asked, by what of."""

    times = 0

    def command(self, of: str = "x") -> str:
        return f"count {of}"

    def process(self, output: list[str]) -> dict[str, int]:
        type(self).times += 1
        return {output[0]: self.times}


@operation()
def looks(**arguments: str) -> Commands:
    """Ask, and change nothing."""
    answers.append(ask(Count, **arguments))
    host_says_nothing: list[str] = []
    yield from host_says_nothing


@operation()
def changes() -> Commands:
    """Ask, and change something."""
    answers.append(ask(Count))
    yield "true"


@operation()
def spoils() -> Commands:
    """Ask, and change the answer."""
    answers.append(ask(Count))
    answers[-1].clear()
    yield from ()


answers: list[Any] = []
SAYS = {"count x": "x", "count y": "y"}


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Nobody has asked yet."""
    answers.clear()
    Count.times = 0


def answered(*operations: Any, planning: bool = False, **arguments: str) -> list[Any]:
    """The answers that operations in a row get, while they run."""
    with engine(SAYS, planning) as state:
        for op in operations:
            add_op(state, op, **(arguments if op is looks else {}))
        answers.clear()
        run_ops(state)
    return list(answers)


def test_a_question_is_asked_once_while_nothing_changes() -> None:
    assert answered(looks, looks, looks) == [{"x": 1}] * 3


def test_it_is_asked_again_after_a_change_and_only_then() -> None:
    assert answered(looks, changes, looks, looks) == [{"x": 1}, {"x": 1}, {"x": 2}, {"x": 2}]


def test_a_plan_is_no_answer_to_the_run() -> None:
    assert answered(looks, looks, planning=True) == [{"x": 2}] * 2


def test_an_answer_is_everybodys_own() -> None:
    assert answered(spoils, looks) == [{}, {"x": 1}]


def test_other_arguments_are_another_question() -> None:
    assert answered(changes, looks, of="y") == [{"x": 1}, {"y": 2}]
    answers.clear()
    Count.times = 0
    with engine(SAYS, planning=False) as state:
        add_op(state, looks)
        add_op(state, looks, of="y")
        add_op(state, looks)
        run_ops(state)
    assert answers == [{"x": 1}, {"y": 2}, {"x": 1}]


def test_another_box_is_asked_itself() -> None:
    for _ in range(2):
        with engine(SAYS, planning=False) as state:
            add_op(state, looks)
            run_ops(state)
    assert answers == [{"x": 1}, {"x": 2}]
