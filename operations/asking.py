"""How an operation asks the box what others have asked before it, without a further round trip."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from pyinfra import host
from pyinfra.api import Host
from pyinfra.api.facts import FactBase

T = TypeVar("T")

Moment = tuple[bool, int]

_answers: WeakKeyDictionary[Host, tuple[Moment, dict[Any, Any]]] = WeakKeyDictionary()


def ask(fact: type[FactBase[T]], **arguments: Any) -> T:
    """A fact, asked of the box again only where an operation has changed something since.

    For an operation's questions before its first command: what it does itself is not seen by it.
    Facts that change on their own, such as who is at work, are asked with `host.get_fact`.

    + fact: its class
    + arguments: the fact's own
    """
    asked: Host = host.state.inventory.get_host(host.name)
    moment, answers = _answers.get(asked, (None, {}))
    if moment != now(asked):
        moment, answers = now(asked), {}
        _answers[asked] = moment, answers
    question = fact, repr(sorted(arguments.items()))
    if question not in answers:
        answers[question] = host.get_fact(fact, **arguments)
    answer: T = deepcopy(answers[question])
    return answer


def now(asked: Host) -> Moment:
    """Of a run: whether it plans or moves the box, and how many of its operations have moved it."""
    done = [operation.operation_meta for operation in asked.state.ops[asked].values()]
    changes = sum(meta.is_complete() and meta.did_change() for meta in done)
    return asked.state.is_executing, changes
