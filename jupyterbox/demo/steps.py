"""Progress that a person can read: a line per step, with the seconds since the first."""

import time
from collections.abc import Callable

Say = Callable[[str], None]


class Steps:
    """Prints each step that it is called with.

    Minutes of silence look like a hang, so whatever takes long is given one of these.
    """

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, step: str) -> None:
        print(f"{time.monotonic() - self._start:6.1f} s  {step}", flush=True)
