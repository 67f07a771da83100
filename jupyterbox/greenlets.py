"""Several commands at once on one connection to a box: most of each is waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from gevent.pool import Pool  # type: ignore[import-untyped]
from pyinfra.api import Host
from pyinfra.context import ctx_host

SESSIONS = 8
"""At once on one connection: sshd's MaxSessions is 10 unless it is told otherwise."""

T = TypeVar("T")
R = TypeVar("R")


def each(host: Host, function: Callable[[T], R], things: Iterable[T]) -> list[R]:
    """Call a function for each of some things, side by side, and wait for all of them.

    Args:
        host: the box that it speaks of and to.
        function: sends commands, and may raise what it likes; the first error is raised then.
        things: what it is called with.

    Returns:
        What it has returned, in the order in which it was ready.
    """

    def call(thing: T) -> tuple[R | None, Exception | None]:
        try:
            with ctx_host.use(host):
                return function(thing), None
        except Exception as error:
            # gevent would print where it comes from, and go on.
            return None, error

    found: list[R] = []
    errors: list[Exception] = []
    for result, error in Pool(SESSIONS).imap_unordered(call, things):
        if error:
            errors.append(error)
        else:
            found.append(result)
    if errors:
        raise errors[0]
    return found
