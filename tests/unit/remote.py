"""Run a program of jupyterbox/remote as a box does, or import one for its functions."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from types import ModuleType
from typing import Any

from jupyterbox.program import PROGRAMS, program


def module(name: str) -> Any:
    """A program as a module; what it imports from beside it is found there."""
    sys.path.insert(0, str(PROGRAMS))
    try:
        found: ModuleType = importlib.import_module(name)
    finally:
        sys.path.remove(str(PROGRAMS))
    return found


def call(
    name: str,
    /,
    *,
    env: dict[str, str] | None = None,
    as_user: int | None = None,
    python: str | None = None,
    **arguments: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a program with the command that a box is sent."""
    _, *options, source, given = program(name, **arguments).bits
    # Another user may not get at this one's own Python.
    python = python or ("/usr/bin/python3" if as_user else sys.executable)
    return subprocess.run(
        [python, *options, source.obj, given.obj],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=env,
        user=as_user,
        cwd="/",
    )


def answered(name: str, /, **arguments: Any) -> Any:
    """What a program answers; it must not fail."""
    done = call(name, **arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
