"""What may happen to a box, or to whoever deploys to it, in the middle of a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass

from jupyterbox.demo.machine import Machine

ACCIDENTS = ("killed", "dropped", "power", "full")
"""The operator's pyinfra is killed, the network goes, the box goes dark, its disk is full."""

NEVER = -1


@dataclass
class Cut:
    """Where a run is cut off, and how.

    Args:
        at: the number of the remote command, from 0.
        how: one of `ACCIDENTS`.
        after: seconds into that command.
        machine: the box's name.
        moving: count only the commands that move the box, which come behind those of the plan.
        record: a file that gets a line for each remote command, with its seconds, and one for the
            accident.
    """

    at: int = NEVER
    how: str = ACCIDENTS[0]
    after: float = 0.0
    machine: str = "demo"
    moving: bool = False
    record: str = "/dev/null"

    def program(self) -> list[str]:
        """The command that runs pyinfra so."""
        return [sys.executable, "-m", "tests.box.cut", json.dumps(asdict(self))]


DISKS = {"opt": "755", "var/lib/jupyterhub": "700"}
"""What can be full, with its mode: hub and conda, the hub's database and its copies."""

TOLD: list[str] = []
"""How many cuts were survived, of how many: a line a test, for the end of the test run."""


def fill(machine: Machine, free_kb: int | None) -> None:
    """Leave so much of the disks, each a tmpfs; None empties them."""
    for name in DISKS:
        disk = machine.root / name
        used = shutil.disk_usage(disk).used // 1024
        size = "40%" if free_kb is None else f"{used + free_kb}k"
        subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
