"""A box with NVIDIA's hardware, as much of it as files tell: mounted over the box's own.

What a test has built with `tests.unit.nvidia_box` is put into a real machine, whose programs then
look there: facts come over SSH, their commands run as they are. Nothing that could load a module or
touch a GPU is there to be started, only what notes that it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.box.conftest import Operator
from tests.unit.nvidia_box import NvidiaBox

LIBRARIES = "usr/lib/x86_64-linux-gnu"
HARDWARE = ["sys/bus/pci/devices", "sys/module", "proc/driver"]
SYSTEM = ["boot", "fake", "usr/lib/modules", "var/lib/dpkg/status"]
ENTER = """
set -e
for place in {places}; do
    [ -e /$place ] || mkdir -p /$place
    mount --bind /nvidia/$place /$place
done
[ ! -e /nvidia/dev/nvidia-uvm ] || touch /dev/nvidia-uvm
"""
LEAVE = """
for place in {places} usr/local/bin; do umount /$place 2>/dev/null; done
rm -rf /nvidia /dev/nvidia-uvm
rmdir /fake /usr/lib/modules 2>/dev/null
:
"""


@contextmanager
def hardware(box: Operator, folder: Path, make: Callable[[NvidiaBox], None]) -> Iterator[None]:
    """A box with this hardware, and with the packages and kernels that it has."""
    with _mounted(box, folder, make, HARDWARE):
        yield


@contextmanager
def nvidia(box: Operator, folder: Path, make: Callable[[NvidiaBox], None]) -> Iterator[NvidiaBox]:
    """A box with this hardware, these kernels, this driver and these packages."""
    with _mounted(box, folder, make, [*HARDWARE, *SYSTEM]) as made:
        libraries = made.box / LIBRARIES
        there = [path.name for path in libraries.iterdir()] if libraries.is_dir() else []
        commands = "mount --bind /nvidia/fake/bin /usr/local/bin"
        box.sh(f"{commands}; cp -a /nvidia/{LIBRARIES}/. /{LIBRARIES}/" if there else commands)
        try:
            yield made
        finally:
            box.sh(" ".join(["cd", f"/{LIBRARIES}", "&&", "rm", "-f", *there]))


@contextmanager
def _mounted(
    box: Operator, folder: Path, make: Callable[[NvidiaBox], None], places: list[str]
) -> Iterator[NvidiaBox]:
    """What a test has built, in its places on the machine."""
    made = NvidiaBox(folder)
    for place in HARDWARE:
        (made.box / place).mkdir(parents=True, exist_ok=True)
    make(made)
    target = box.machine.root / "nvidia"
    shutil.copytree(made.box, target, symlinks=True)
    # What is started is noted there.
    made.box = target
    try:
        box.sh(ENTER.format(places=" ".join(places)))
        yield made
    finally:
        box.sh(LEAVE.format(places=" ".join(reversed(places))))
