"""pyinfra's real engine on its `@fake` connector: recorded text in, commands out.

Facts are asked with their real commands and read by their real parsers; operations yield to the
real executor. Only the box is missing: what it says to a command is given, and a command that
nothing is said to succeeds without output, as on a box that has none of it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyinfra.api.command import FileUploadCommand, FunctionCommand, StringCommand
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.facts import FactBase, get_fact
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from jupyterbox.program import PROGRAMS, program

RECORDED = Path(__file__).parents[1] / "recorded"
PYTHON = program("fetch").bits[0]
SOURCES = {program(path.stem).bits[3].obj: path.stem for path in PROGRAMS.glob("*.py")}

Says = Mapping[Any, Any]
Shown = Any  # see show()


def recorded(name: str) -> str:
    """A recording, without the line at its top that says where it comes from."""
    head, _, text = (RECORDED / f"{name}.txt").read_text().partition("\n")
    assert head.startswith("# "), f"{name} does not say where it comes from"
    return text


def state_of(name: str) -> Any:
    """A recording that is JSON."""
    return json.loads(recorded(name))


def programs(**answers: Any) -> dict[Any, Any]:
    """What the programs of jupyterbox/remote say, by their names."""
    return {first_line(name): json.dumps(answer) for name, answer in answers.items()}


def first_line(name: str) -> str:
    """What a program's command can be known by."""
    return shlex.quote((PROGRAMS / f"{name}.py").read_text())[1:].partition("\n")[0]


@contextmanager
def engine(says: Says | None, planning: bool = True) -> Iterator[State]:
    """pyinfra, connected to a box that answers so; `-y` goes without planning."""
    data = {"fake_responses": dict(says or {}), "fake_delay": 0, "fake_delay_jitter": 0}
    inventory = Inventory((["@fake/box"], data))  # type: ignore[no-untyped-call]
    config = Config()  # type: ignore[no-untyped-call]
    state = State(inventory, config, check_for_changes=planning)
    connect_all(state)
    try:
        yield state
    finally:
        # An exception leaves pyinfra's contexts as they were inside.
        for context in (ctx_config, ctx_host, ctx_inventory, ctx_state):
            context.reset()


def fact(cls: type[FactBase[Any]], says: Says | None = None, **arguments: Any) -> Any:
    """What a fact is on a box."""
    with engine(says) as state:
        [host] = state.inventory
        with ctx_state.use(state), ctx_host.use(host):
            return get_fact(state, host, cls, kwargs=arguments)


def run(
    operation: Callable[..., Any],
    *args: Any,
    says: Says | None = None,
    planning: bool = True,
    **kwargs: Any,
) -> list[Shown]:
    """The commands that an operation runs; what was planned must have announced them."""
    with engine(says, planning) as state:
        [meta] = add_op(state, operation, *args, **kwargs).values()
        run_ops(state)
        commands = [show(command) for command in meta._commands]
        assert not planning or meta.will_change == bool(commands), "the plan said otherwise"
        return commands


def plan(
    operation: Callable[..., Any], *args: Any, says: Says | None = None, **kwargs: Any
) -> bool:
    """Whether an operation plans to change something; nothing is run."""
    with engine(says) as state:
        [meta] = add_op(state, operation, *args, **kwargs).values()
        return bool(meta.will_change)


def deployed(
    deploy: Callable[..., Any], *args: Any, says: Says | None = None, **kwargs: Any
) -> dict[str, list[Shown]]:
    """The commands of a deploy, by the names of its operations, in their order."""
    with engine(says) as state:
        add_deploy(state, deploy, *args, **kwargs)
        run_ops(state)
        [operations] = state.ops.values()
        return {
            name: [show(command) for command in operations[op_hash].operation_meta._commands or []]
            for op_hash in state.get_op_order()  # type: ignore[no-untyped-call]
            for name in state.op_meta[op_hash].names
        }


def show(command: Any) -> Shown:
    """A command as a test writes it.

    A program of jupyterbox/remote is `(NAME, {arguments})`, with what comes after it in the same
    line as a third; an upload is `("put", PATH, CONTENT)`; and a command with arguments of its own,
    like `_stdin`, is `(COMMAND, {arguments})`. Commands that run side by side are a list.
    """
    if isinstance(command, FunctionCommand):
        if len(command.args) > 1:
            return [show(each) for each in command.args]
        [command] = command.args
    if isinstance(command, FileUploadCommand):
        if isinstance(command.src, str):
            return ("put", command.dest, Path(command.src).read_text())
        command.src.seek(0)
        return ("put", command.dest, command.src.read())
    assert isinstance(command, StringCommand)
    text = command.get_raw_value()
    words = shlex.split(text) if " -I -c " in text else []
    if "-I" in words and words[(at := words.index("-I")) + 2] in SOURCES:
        name, python = SOURCES[words[at + 2]], words[at - 1]
        called = name if python == PYTHON else f"{python} {name}"
        optional = "if there is a python3: " if at > 1 else ""
        if "systemd-run" in words:
            optional = "detached: "
        rest = [" ".join(words[at + 4 :])] if words[at + 4 :] else []
        return (f"{optional}{called}", json.loads(words[at + 3]), *rest)
    if command.connector_arguments:
        return (text, dict(command.connector_arguments))
    return text
