"""How an operation refuses a box, while it plans and while it runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationError


def refuse(problems: list[str]) -> Iterator[StringCommand]:
    """Fail this box with its problems, one a line.

    + problems: a sentence each

    Raises:
        OperationError: while planning, where a failing command would pass for a change.
    """
    if not host.state.is_executing:
        raise OperationError("\n  - ".join([f"{host.name} is not ready:", *problems]))
    # A raised error would end the run on every other box, too.
    lines = " ".join(shlex.quote(f"- {problem}") for problem in problems)
    # Not as root: that sudo refuses may be what there is to say.
    yield StringCommand(f"printf '%s\\n' {lines} >&2; exit 1", _sudo=False)
