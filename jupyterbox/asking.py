"""Ask the boxes of an inventory what they are: their facts, by pyinfra's own command line.

Each fact is one command on each box. To pyinfra a fact that failed is an empty one, as on a bare
box: what tells them apart is in its log, and so is why.
"""

from __future__ import annotations

import glob
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyterbox.settings import REPOSITORY, Conda

if TYPE_CHECKING:
    from facts.problem import Problem

FACTS = {
    "system": "facts.box.System",
    "driver": "facts.gpu.NvidiaDriver",
    "gpus": "facts.gpu.Gpus",
    "cuda": "facts.gpu.CondaCuda",
    "hub": "facts.hub.Hub",
    "activity": "facts.hub.HubActivity",
    "conda": "facts.conda.Conda",
    "environments": "facts.conda.CondaEnvs",
    "private_environments": "facts.conda.UserCondaEnvs",
    "kernels": "facts.jupyter.Kernelspecs",
}
"""What is asked, by what its answer is about."""

ROOT = {
    "facts.conda.Conda": "root",
    "facts.conda.CondaEnvs": "root",
    "facts.conda.UserCondaEnvs": "root",
    "facts.gpu.CondaCuda": "root",
    "facts.jupyter.Kernelspecs": "conda_root",
}
"""What a fact calls conda's root, if it takes one."""

TIMEOUT = 60
"""Seconds for one fact of one box: they take less than one, but where GPUs must wake up first."""

Log = list[str]


class InventoryError(Exception):
    """Why nobody can be asked, in a sentence or more."""


@dataclass
class Declared:
    """A box as the inventory has it: its groups, where its conda lives, its environments."""

    groups: list[str]
    root: str
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Answers:
    """What a box answered, by subject (`None` where it did not), and all that is wrong there."""

    facts: dict[str, Any]
    problems: list[Problem]


def ask(inventory: Path, limits: Iterable[str] = ()) -> dict[str, Answers]:
    """Ask the boxes of an inventory everything.

    Args:
        inventory: its file.
        limits: names or groups of boxes, or patterns for names; all of them by default.

    Returns:
        what each answered, by its name, in the inventory's order.

    Raises:
        InventoryError: the inventory does not load, or names no such box.
    """
    boxes = chosen(declared(inventory), limits, inventory)
    found: dict[str, Answers] = {}
    for root in {box.root: None for box in boxes.values()}:
        found |= ask_some(
            inventory, [name for name, box in boxes.items() if box.root == root], root
        )
    return {name: found[name] for name in boxes}


def declared(inventory: Path) -> dict[str, Declared]:
    """The boxes of an inventory, as pyinfra reads it.

    Raises:
        InventoryError: it does not load, or names none.
    """
    done = pyinfra(inventory, "debug-inventory")
    hosts = printed(done)
    if done.returncode or not isinstance(hosts, list):
        raise InventoryError(f"{inventory} does not load: {reason(done.stderr)}")
    if not hosts:
        raise InventoryError(f"{inventory} names no box.")
    return {
        host["name"]: Declared(
            host["groups"], conda_root(host["data"]), declared_environments(host["data"])
        )
        for host in hosts
    }


def conda_root(data: Mapping[str, Any]) -> str:
    """Where a box's conda lives; an inventory may also hold hosts that no `Box` is made for."""
    try:
        return str(data["box"]["conda"]["root"])
    except (KeyError, TypeError):
        return Conda().root


def declared_environments(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of a box's environments, by name."""
    try:
        return {environment["name"]: environment for environment in data["box"]["environments"]}
    except (KeyError, TypeError):
        return {}


def chosen(
    boxes: dict[str, Declared], limits: Iterable[str], inventory: Path
) -> dict[str, Declared]:
    """The boxes that are asked; all of them where nothing limits them.

    Raises:
        InventoryError: none is called so.
    """
    limits = list(limits)
    for limit in limits:
        if not any(matches(name, box, limit) for name, box in boxes.items()):
            names = ", ".join(boxes)
            raise InventoryError(f"{inventory} names no box {limit!r}: it has {names}.")
    return {
        name: box
        for name, box in boxes.items()
        if not limits or any(matches(name, box, limit) for limit in limits)
    }


def matches(name: str, box: Declared, limit: str) -> bool:
    """Whether a limit means a box, by its name, its group or a pattern of its name."""
    return limit in (name, *box.groups) or fnmatchcase(name, limit)


def ask_some(inventory: Path, names: list[str], root: str) -> dict[str, Answers]:
    """Ask boxes whose conda lives in the same place, all at once."""
    words = [word for fact in FACTS.values() for word in question(fact, root)]
    done = pyinfra(inventory, "fact", *words, boxes=names)
    found = {name: read(done, name) for name in names}
    if len(names) > 1 and None in found.values():
        # pyinfra stops for all where it stops for one.
        return {name: ask_some(inventory, [name], root)[name] for name in names}
    return {name: answers or silent(done.stderr) for name, answers in found.items()}


def question(fact: str, root: str) -> list[str]:
    """A fact with its arguments, as pyinfra's command line takes it."""
    argument = [f"{ROOT[fact]}={root}"] if fact in ROOT else []
    return [fact, *argument, f"_timeout={TIMEOUT}"]


def pyinfra(
    inventory: Path, *words: str, boxes: Iterable[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run pyinfra where its config.py lies; a password is typed into the terminal of this one."""
    return subprocess.run(
        command(inventory, *words, boxes=boxes),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def command(inventory: Path, *words: str, boxes: Iterable[str] = ()) -> list[str]:
    """pyinfra's command line.

    Args:
        inventory: its file.
        words: what is to be done.
        boxes: with which; all of them by default.
    """
    limits = [word for name in boxes for word in ("--limit", exactly(name))]
    return [sys.executable, "-m", "pyinfra", "--json", *limits, str(inventory), *words]


def exactly(name: str) -> str:
    """The pattern that means a host of this name, and no group of the same one."""
    return f"[{name[0]}]{glob.escape(name[1:])}"


def printed(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON that pyinfra printed; `None` where there is none. An inventory may print, too."""
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return None


def read(done: subprocess.CompletedProcess[str], name: str) -> Answers | None:
    """What one box answered; `None` where pyinfra stopped before it could."""
    log = log_of(name, done.stderr)
    if log and not any(line.startswith("Connected") for line in log):
        return unreachable(log)
    failed = failures(log)
    answered = {fact.partition(" ")[0]: by_host for fact, by_host in (printed(done) or {}).items()}
    facts = {
        subject: None if fact in failed else answered.get(fact, {}).get(name)
        for subject, fact in FACTS.items()
    }
    if any(facts[subject] is None and fact not in failed for subject, fact in FACTS.items()):
        return None
    said = [problem for answer in facts.values() if answer for problem in answer["problems"]]
    # A home that hangs is missed by more than one.
    once = [problem for at, problem in enumerate(said) if problem not in said[:at]]
    return Answers(facts, [*refusals(failed), *once])


def log_of(name: str, stderr: str) -> Log:
    """The lines of pyinfra's log that are about one box."""
    head = f"[{name}]"
    lines = (line.strip() for line in stderr.splitlines())
    return [line[len(head) :].strip() for line in lines if line.startswith(head)]


def failures(log: Log) -> dict[str, str]:
    """The facts that failed on a box, and what it said instead."""
    found: dict[str, str] = {}
    said: Log = []
    for line in log:
        if failed := re.match(r"Error: could not (?:load|process) fact: (\S+)", line):
            found[failed[1]] = gist(said)
        if failed or line.startswith("Loaded fact"):
            said = []
        else:
            said.append(line)
    return found


def gist(said: Log) -> str:
    """One line of what was said; a program ends with why it failed."""
    lines = list(filter(None, said))
    if not lines:
        return "it did not say why"
    # sudo repeats the command that it refuses, and ours are whole programs.
    refused = re.match(r"Sorry, user \S+ is not allowed to execute", lines[0])
    line = f"{refused[0]} this as root" if refused else lines[-1]
    return line[:300].rstrip(".")


def refusals(failed: Mapping[str, str]) -> list[Problem]:
    """The problems of facts that failed, one for each reason."""
    return [
        refusal([fact for fact in failed if failed[fact] == why], why)
        for why in dict.fromkeys(failed.values())
    ]


def refusal(facts: list[str], why: str) -> Problem:
    """What is wrong where facts failed for the same reason."""
    which = "Every fact" if len(facts) == len(FACTS) else ", ".join(facts)
    return {
        "problem": f"{which} failed: {why}.",
        "cure": f"Ask for one alone, to see all that it says: pyinfra INVENTORY fact {facts[0]}.",
    }


def unreachable(log: Log) -> Answers:
    """A box that pyinfra could not connect to."""
    return Answers(
        dict.fromkeys(FACTS),
        [
            {
                "problem": f"The box cannot be reached: {gist(log)}.",
                "cure": "Look whether it is up, and how the inventory says that it is reached.",
            }
        ],
    )


def silent(stderr: str) -> Answers:
    """A box that pyinfra stopped too soon for."""
    problem: Problem = {
        "problem": f"pyinfra stopped before the box had answered: {reason(stderr).rstrip('.')}.",
        "cure": "Ask for one fact alone: pyinfra INVENTORY fact facts.box.System.",
    }
    if "sudo password:" in stderr and "EOFError" in stderr:
        problem = {
            "problem": "sudo asks for a password on the box, and nobody is here to type it.",
            "cure": "Run this in a terminal, or set JUPYTERBOX_SUDO_PASSWORD.",
        }
    return Answers(dict.fromkeys(FACTS), [problem])


def reason(stderr: str) -> str:
    """Why pyinfra ended, as it said last."""
    said = stderr.partition("--> The full traceback")[0].strip()
    if error := re.search(r"--> pyinfra error(?: in .* line \d+)?: (.*)", said, re.DOTALL):
        return error[1]
    return (said.splitlines() or ["it did not say why"])[-1].strip()
