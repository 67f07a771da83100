"""How an operation asks the box what others have asked before it, without a further round trip."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from pyinfra import host
from pyinfra.api import Host
from pyinfra.api.facts import FactBase

from jupyterbox.greenlets import each

T = TypeVar("T")

Moment = tuple[bool, int]
Question = tuple[type[FactBase[Any]], dict[str, Any]]

_answers: WeakKeyDictionary[Host, tuple[Moment, dict[Any, Any]]] = WeakKeyDictionary()


def ask(fact: type[FactBase[T]], **arguments: Any) -> T:
    """A fact, asked of the box again only where an operation has changed something since.

    For an operation's questions before its first command: what it does itself is not seen by it.
    Facts that change on their own, such as who is at work, are asked with `host.get_fact`.

    + fact: its class
    + arguments: the fact's own
    """
    asked = this_host()
    answers, key = answered(asked), (fact, repr(sorted(arguments.items())))
    if key not in answers:
        answers[key] = host.get_fact(fact, **arguments)
    answer: T = deepcopy(answers[key])
    return answer


def ask_at_once(questions: Iterable[Question]) -> None:
    """Ask what is going to be asked one by one, side by side: most of a question is the way there.

    + questions: facts with their arguments
    """
    each(this_host(), lambda question: ask(question[0], **question[1]), questions)


def know(fact: type[FactBase[T]], answer: T, **arguments: Any) -> None:
    """Take what has been asked of many things at once for the answer to a question about one."""
    answered(this_host())[fact, repr(sorted(arguments.items()))] = answer


def this_host() -> Host:
    """The box itself, in place of what stands for it everywhere."""
    found: Host = host.state.inventory.get_host(host.name)
    return found


def answered(asked: Host) -> dict[Any, Any]:
    """What a box has answered since something changed there."""
    moment, answers = _answers.get(asked, (None, {}))
    if moment != now(asked):
        answers = {}
        _answers[asked] = now(asked), answers
    return answers


def now(asked: Host) -> Moment:
    """Of a run: whether it plans or moves the box, and how many of its operations have moved it."""
    done = [operation.operation_meta for operation in asked.state.ops[asked].values()]
    changes = sum(meta.is_complete() and meta.did_change() for meta in done)
    return asked.state.is_executing, changes
