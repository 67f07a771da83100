"""Run pyinfra as an operator does, and write down what each operation took.

    python -m bench.counting RECORD inventory.py -y deploy.py

RECORD gets a line of JSON for each operation, in their order: `name`, `seconds`, and how many
remote `commands` it sent. What is sent before the first one is `(plan)`.
"""

from __future__ import annotations

# First of all: it has gevent patch the standard library.
from pyinfra_cli.main import main  # type: ignore[import-untyped]  # isort: skip

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyinfra.api.state import BaseStateCallback, State
from pyinfra.connectors.ssh import SSHConnector

from tests.box.watched import watch

PLAN = "(plan)"


class Count(BaseStateCallback):
    """Counts and times what goes on between the beginnings of operations.

    Args:
        record: the file.
    """

    def __init__(self, record: Path) -> None:
        self.record = record
        self.name, self.commands, self.started = PLAN, 0, time.monotonic()

    def sent(self, _: SSHConnector, send: Callable[[], Any]) -> Any:
        """A remote command."""
        self.commands += 1
        return send()

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]
        """An operation begins, and what was before it is over."""
        self.over()
        self.name = ", ".join(sorted(state.op_meta[op_hash].names))

    def over(self) -> None:
        """Write down what is over."""
        now = time.monotonic()
        entry = {
            "name": self.name,
            "seconds": round(now - self.started, 3),
            "commands": self.commands,
        }
        with self.record.open("a") as record:
            record.write(f"{json.dumps(entry)}\n")
        self.commands, self.started = 0, now


def count(record: Path) -> Count:
    """Have this process's pyinfra counted; whoever calls says when the last one is over."""
    counting = Count(record)
    watch(counting.sent)
    init = State.init

    def init_and_tell(self: State, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self.add_callback_handler(counting)  # type: ignore[no-untyped-call]

    # pyinfra's command takes no callbacks.
    setattr(State, "init", init_and_tell)  # noqa: B010
    return counting


if __name__ == "__main__":
    counting = count(Path(sys.argv[1]))
    sys.argv = ["pyinfra", *sys.argv[2:]]
    try:
        main()
    finally:
        counting.over()
