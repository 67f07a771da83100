"""Programs that run on the box: how they are sent, what they answer, how their output is shown."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api import operation
from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput
from typing_extensions import TypedDict

from jupyterbox.program import (
    PROGRAMS,
    SYSTEM_PYTHON,
    Commands,
    answer,
    program,
    question,
    showing_progress,
)
from tests.unit.engine import engine, run

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_arguments_arrive_whatever_is_in_them(text: str) -> None:
    command = program("conda_state", root=text).get_raw_value()
    # The shell takes the line apart; Python prints what would have been run.
    shown = subprocess.run(
        ["sh", "-c", f"set -- {command}; printf '%s' \"$5\""], capture_output=True, check=True
    )
    assert json.loads(shown.stdout) == {"root": text}


def test_a_program_is_run_by_an_isolated_python() -> None:
    python, isolated, option, source, arguments = program(
        "make_secrets", "/x/python", names=["y"]
    ).bits
    assert (python, isolated, option) == ("/x/python", "-I", "-c")
    assert source.obj == (PROGRAMS / "make_secrets.py").read_text()
    assert json.loads(arguments.obj) == {"names": ["y"]}


def test_a_question_is_silent_on_a_box_without_python() -> None:
    command = question("conda_state", root="/nowhere").get_raw_value()
    bare = command.replace(SYSTEM_PYTHON, "/nowhere/python3")
    without = subprocess.run(["/bin/sh", "-c", bare], capture_output=True, text=True)
    assert (without.returncode, without.stdout, without.stderr) == (0, "", "")

    with_one = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    assert json.loads(with_one.stdout)["installed"] is False


class Names(TypedDict):
    """What the tests below expect."""

    users: dict[str, int | None]
    groups: list[str]


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ([], "Invalid JSON: EOF while parsing a value at line 1 column 0, not ''"),
        (["Trace"], "Invalid JSON: expected value at line 1 column 1, not 'Trace'"),
        (["[]"], "Input should be an object, not '[]'"),
        (['{"users": {}}'], "groups: Field required, not \"{'users': {}}\""),
        (
            ['{"users": {"ada": "1"}, "groups": []}'],
            "users.ada: Input should be a valid integer, not '1'",
        ),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(output: list[str], says: str) -> None:
    with pytest.raises(FactProcessError) as caught:
        answer(output, Names)
    assert str(caught.value) == says


@given(value=JSON)
def test_an_answer_is_of_the_type_that_was_asked_for(value: Any) -> None:
    names = {"users": {"ada": 1, "bob": None}, "groups": ["lab"]}
    assert answer(json.dumps(names, indent=1).splitlines(), Names) == names
    with pytest.raises(FactProcessError):
        answer(json.dumps(value).splitlines(), Names)


@given(output=st.lists(st.text()))
def test_garbage_raises_nothing_else(output: list[str]) -> None:
    with pytest.raises(FactProcessError):
        answer(output, Names)


@operation()
def lasting(connector: dict[str, bool] | None = None) -> Commands:
    """An operation of one command that takes long."""
    yield showing_progress("build it", **(connector or {}))


@pytest.mark.parametrize(
    ("of_operation", "of_command", "sudo"),
    [
        ({}, {}, False),
        ({"_sudo": True}, {}, True),
        ({"_sudo": True}, {"_sudo": False}, False),
    ],
)
def test_what_takes_long_is_shown_and_runs_with_the_arguments_of_its_operation(
    monkeypatch: pytest.MonkeyPatch,
    of_operation: dict[str, bool],
    of_command: dict[str, bool],
    sudo: bool,
) -> None:
    ran: list[Any] = []

    def keep(
        self: FakeConnector, command: Any, print_output: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        ran.append((str(command), print_output, arguments["_sudo"]))
        return True, CommandOutput([])

    monkeypatch.setattr(FakeConnector, "run_shell_command", keep)
    with engine({}) as state:
        add_op(state, lasting, of_command, **of_operation)
        run_ops(state)
    assert ran == [("build it", True, sudo)]


def test_it_fails_its_operation_when_it_fails() -> None:
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run(lasting, says={"build it": {"success": False, "stderr": "it did not"}})


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*.py")), ids=lambda path: path.stem)
def test_every_program_is_for_the_oldest_python_and_says_what_it_takes(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 10))
    assert ast.get_docstring(tree)
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {
        (node.module or "").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    # Some are run by the hub's own Python, which has these.
    of_the_hub = {
        "verify": {"aiohttp", "yarl"},
        "load_config": {"jupyterhub", "traitlets"},
        "hub_trial": {"jupyterhub", "tornado"},
        "kernel_trial": {"jupyter_client"},
    }
    allowed = of_the_hub.get(path.stem, set())
    beside = {path.stem for path in PROGRAMS.glob("*.py")}
    assert imported - sys.stdlib_module_names <= allowed | beside
