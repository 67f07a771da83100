"""Whose turn it is to change a box: one run at a time."""

from __future__ import annotations

import shlex

from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from jupyterbox import layout
from jupyterbox.program import PROGRAMS


class TurnState(TypedDict):
    """Who has or had the last turn; empty strings where nobody has.

    `verdict` is `free`, `taken` (another run is at work) or `changed` (another run has been at work
    since `held` was seen); `held` tells one turn from another.
    """

    verdict: str
    held: str
    by: str
    login: str
    address: str
    since: str
    process: str


class Turn(FactBase[TurnState]):
    """Whose turn it is to change the box; a run that executes takes it by asking.

    ```
    {"verdict": "taken", "held": "4711 1234567", "by": "ada@laptop", "login": "root",
     "address": "192.0.2.7", "since": "2026-11-23 21:05 UTC", "process": "4711"}
    ```

    Args:
        by: who takes the turn if it is free; with `None` nobody does.
        seen: what was `held` when the run was planned, if it was.
        process: the run's own, where it is on the box.
    """

    def command(
        self, by: str | None = None, seen: str | None = None, process: int | None = None
    ) -> str:
        return turn_command(by, seen, process)

    @staticmethod
    def default() -> TurnState:
        return turn_of([])

    def process(self, output: list[str]) -> TurnState:
        if not any(line.startswith("verdict=") for line in output):
            raise FactProcessError(f"not an answer: {output[:1]!r}")
        return turn_of(output)


def turn_command(
    by: str | None,
    seen: str | None,
    process: int | None,
    *,
    proc: str = "/proc",
    run: str = layout.RUN,
    me: str = "$$",
) -> str:
    """The shell's text that judges whose turn it is.

    Args:
        by: who takes the turn if it is free; with `None` nobody does.
        seen: what was `held` when the run was planned, if it was.
        process: the run's own, where it is on the box.
        proc: where the kernel shows its processes.
        run: the directory in which turns are noted.
        me: the process whose connection is looked for.
    """
    values = {
        "take": "yes" if by else "",
        "by": by or "",
        "seen": "-" if seen is None else seen,
        "process": str(process or ""),
        "proc": proc,
        "run": run,
    }
    text = (PROGRAMS / "turn.sh").read_text().replace("{me}", me)
    for name, value in values.items():
        text = text.replace(f"={{{name}}}", f"={shlex.quote(value)}")
    return text


def turn_of(lines: list[str]) -> TurnState:
    """Read what that text prints."""
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    return {
        "verdict": said.get("verdict", "free"),
        "held": said.get("held", ""),
        "by": said.get("by", ""),
        "login": said.get("login", ""),
        "address": said.get("address", ""),
        "since": said.get("since", ""),
        "process": said.get("process", ""),
    }
