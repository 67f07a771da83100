"""What a run changed on a box, and where its time went, said at its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from pyinfra import host
from pyinfra.api import Host, State
from pyinfra.api.operation import OperationMeta
from pyinfra.api.state import BaseStateCallback

LOG = logging.getLogger("pyinfra")


_started: WeakKeyDictionary[Host, dict[str, float]] = WeakKeyDictionary()
_seconds: WeakKeyDictionary[Host, dict[str, float]] = WeakKeyDictionary()


def at_the_end() -> None:
    """Have this run say at its end what it changed; of several boxes each has its own lines."""
    if not any(isinstance(handler, Summary) for handler in host.state.callback_handlers):
        host.state.add_callback_handler(Summary())  # type: ignore[no-untyped-call]


class Summary(BaseStateCallback):
    """Follows a run with a clock in its hand."""

    @staticmethod
    def operation_host_start(state: State, host: Host, op_hash: str) -> None:
        """Look at the clock."""
        _started.setdefault(host, {})[op_hash] = time.monotonic()

    @staticmethod
    def operation_host_success(
        state: State, host: Host, op_hash: str, retry_count: int = 0
    ) -> None:
        """Look again."""
        _seconds.setdefault(host, {})[op_hash] = time.monotonic() - _started[host][op_hash]

    @staticmethod
    def operation_host_error(
        state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        """Look again."""
        Summary.operation_host_success(state, host, op_hash)

    @staticmethod
    def host_disconnect(state: State, host: Host) -> None:
        """Say it; a plan has nothing to say."""
        took = _seconds.pop(host, {})
        if took:
            LOG.info(f"--> {host.name}, where the time went:")
            for line in lines(state, host, took):
                LOG.info(f"    {line}")


def lines(state: State, host: Host, took: dict[str, float]) -> Iterator[str]:
    """What each operation took that changed something, or failed; and all the others.

    + took: seconds, by operation
    """
    rest = dict(took)
    for op_hash, seconds in sorted(took.items(), key=lambda item: -item[1]):
        done = state.ops[host][op_hash].operation_meta
        if said := outcome(done):
            del rest[op_hash]
            name = ", ".join(sorted(state.op_meta[op_hash].names))
            yield f"{seconds:7.1f} s  {name}{said}"
    if rest:
        others = f"{len(rest)} others" if len(rest) < len(took) else f"all {len(rest)} operations"
        yield f"{sum(rest.values()):7.1f} s  to find that {others} had nothing to do"


def outcome(done: OperationMeta) -> str:
    """What there is to say behind the name of one that did something; empty of the others."""
    if done.did_error():
        return ": failed"
    return ": done" if done.did_change() else ""
