"""What facts of GPUs answer on boxes that are made of recordings: the demo box has no GPU.

docs/facts.md shows them; `python -m tests.record examples` writes them there.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from facts.gpu import Gpus, NvidiaDriver
from tests.unit.nvidia_box import KERNEL, NvidiaBox, said
from tests.unit.test_gpu_use import as_table

PREBUILT = "dpkg-l/prebuilt-modules-580-open-hwe-24.04.txt"
REPORT = "nvidia-smi-q-x/ada-rtx4000-sff-procs__595.84.xml"
BEFORE, INSTALLED = "580.82.07", "580.95.05"
RUNNING, NEXT = "6.14.0-36-generic", "6.14.0-37-generic"


def example(asked: str) -> Any:
    """What a fact answers on the box that the manual describes."""
    with tempfile.TemporaryDirectory() as folder:
        box = NvidiaBox(Path(folder))
        return {"facts.gpu.NvidiaDriver": _upgraded, "facts.gpu.Gpus": _in_use}[asked](box)


def _upgraded(box: NvidiaBox) -> Any:
    """What is installed is recorded; a driver from before that still runs."""
    (box.box / f"boot/vmlinuz-{KERNEL}").unlink()
    (box.box / f"usr/lib/modules/{KERNEL}").rmdir()
    box.kernel(RUNNING, running=True)
    box.kernel(NEXT)
    box.device("0000:07:00.0", "2504")
    box.load(BEFORE)
    box.libraries(INSTALLED)
    box.module(INSTALLED, NEXT)
    box.packages(said(PREBUILT).splitlines())
    return box.ask(NvidiaDriver)


def _in_use(box: NvidiaBox) -> Any:
    """A GPU on which somebody computes."""
    report = said(REPORT)
    box.device("0000:06:00.0", "27b0")
    box.load("595.84")
    box.libraries("595.84")
    box.smi(as_table(report), report)
    found = box.ask(Gpus)
    for process in found["gpus"][0]["processes"]:
        # Here, processes with these numbers would be others.
        process |= {"user": "ada", "server": "jupyter-ada-singleuser.service"}
    return found
