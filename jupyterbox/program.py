"""Programs that run on the box: sent as they are, nothing is left behind.

What a shell line cannot say well is a Python file in `jupyterbox/remote`, for the standard library
of Python 3.10, the oldest on a supported system. It gets its arguments as one JSON object and
answers on standard output; if it fails, it says why in one sentence on standard error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, ConnectorArguments
from pyinfra.api.command import FunctionCommand, PyinfraCommand, QuoteString, StringCommand
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from jupyterbox.greenlets import each

PROGRAMS = Path(__file__).parent / "remote"

SYSTEM_PYTHON = "/usr/bin/python3"
"""The one that the hub's venv is made of, whatever else root's PATH has."""

MAKE_MODULES = """\
import sys, types
for name, text in {modules!r}.items():
    sys.modules[name] = types.ModuleType(name)
    exec(text, sys.modules[name].__dict__)
"""

Commands = Generator[str | PyinfraCommand, None, None]
T = TypeVar("T")


def program(name: str, /, python: str = SYSTEM_PYTHON, **arguments: Any) -> StringCommand:
    """The command that runs a program of `jupyterbox/remote` on the box.

    Args:
        name: the file's, without `.py`.
        python: the one that runs it.
        arguments: JSON-able; they stand in the box's process list, so never a secret.
    """
    return StringCommand(
        python, "-I", "-c", QuoteString(source(name)), QuoteString(json.dumps(arguments))
    )


def source(name: str) -> str:
    """A program's text, with the modules beside it that it imports from made before it starts."""
    text = (PROGRAMS / f"{name}.py").read_text()
    modules = {module: (PROGRAMS / f"{module}.py").read_text() for module in _imported(text)}
    return (MAKE_MODULES.format(modules=modules) if modules else "") + text


def _imported(text: str) -> list[str]:
    """The modules beside a program that it needs, each after those that it needs itself."""
    found: list[str] = []
    for module in re.findall(r"^from (\w+) import", text, re.MULTILINE):
        path = PROGRAMS / f"{module}.py"
        if path.exists():
            found += [*_imported(path.read_text()), module]
    return list(dict.fromkeys(found))


def question(name: str, /, **arguments: Any) -> StringCommand:
    """Like `program`, for a fact: silent on a box that has no Python yet."""
    return StringCommand(f"[ -x {SYSTEM_PYTHON} ] || exit 0;", program(name, **arguments))


def answer(output: list[str], shape: type[T]) -> T:
    """Read what a `question` printed.

    Args:
        output: the lines.
        shape: the type that it shall have, to the last key.

    Raises:
        FactProcessError: when it is anything else.
    """
    try:
        return TypeAdapter(shape).validate_json("\n".join(output), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = f"{first['msg']}, not {str(first['input'])[:80]!r}"
        raise FactProcessError(f"{where}: {said}" if where else said) from None


def showing_progress(*bits: Any, **connector: Any) -> FunctionCommand:
    """A command whose output is shown while it runs, for whatever takes longer than a breath."""
    return FunctionCommand(_run_and_show, (StringCommand(*bits, **connector),), {})


def at_once(*commands: StringCommand) -> FunctionCommand:
    """Commands that run side by side, their output shown while they do; all are waited for."""
    return FunctionCommand(_run_all, commands, {})


def _run_all(state: State, host: Host, *commands: StringCommand) -> bool:
    return all(each(host, lambda command: _run_and_show(state, host, command), commands))


def _run_and_show(state: State, host: Host, command: StringCommand) -> bool:
    # pyinfra hands a function no global arguments; those of the operation it runs in still stand.
    arguments = cast(Mapping[str, Any], host.current_op_global_arguments or {})
    connector = {key: arguments[key] for key in CONNECTOR_ARGUMENT_KEYS if key in arguments}
    connector.update(command.connector_arguments)
    succeeded, _ = host.run_shell_command(
        command,
        print_output=True,
        print_input=state.print_input,
        **cast(ConnectorArguments, connector),
    )
    return succeeded
