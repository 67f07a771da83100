"""One run at a time: whatever changes a box takes its turn, and says who has it."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.host import Host

from facts.turn import Turn, TurnState
from jupyterbox.program import Commands
from operations.refusing import refuse

_seen: WeakKeyDictionary[Host, str] = WeakKeyDictionary()
"""Whose turn was the last when each box was planned: what was shown to the operator then."""


@operation()
def take() -> Commands:
    """Take the turn for this run, or refuse it where another run is at work.

    It stands before everything else in a task that changes something. A run that executes takes it
    by asking, and not by a command: that would be a change, of a run that changes nothing.
    """
    problems = list(objections(host.get_fact(Turn, **question())))
    if problems:
        yield from refuse(problems)
        return
    host.noop("no other run is at work")


def question() -> dict[str, Any]:
    """What the fact is asked with: a plan looks, an execution takes."""
    process = os.getpid() if host.name == "@local" else None
    if not host.state.is_executing:
        return {"process": process}
    return {"by": operator(), "seen": _seen.get(host), "process": process}


def operator() -> str:
    """Who runs this, and on which machine: many log in as root."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        # A container may run as an account that it does not know.
        return f"{os.getuid()}@{socket.gethostname()}"


def objections(turn: TurnState) -> Iterator[str]:
    """Why this run must not go on."""
    if not host.state.is_executing:
        _seen[host] = turn["held"]
    login = f"{turn['login']} from {turn['address']}" if turn["address"] else turn["login"]
    who = f"{turn['by']} (as {login}) since {turn['since']}"
    if turn["verdict"] == "taken":
        yield (
            f"another run is at work on this box: {who}, process {turn['process']}. Wait for it, "
            f"or end it there with `kill {turn['process']}`."
        )
    if turn["verdict"] == "changed":
        yield (
            f"another run has been at work on this box since this one was planned: {who}. Run "
            "this again, to see what it changes now."
        )
