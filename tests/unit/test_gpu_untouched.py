"""Nothing of the driver's is started on a box without a GPU of NVIDIA's: all of it is a trap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facts.box import System
from facts.device_holders import DeviceHolders
from facts.driver_setup import DriverSetup
from facts.gpu import CondaCuda, Gpus, NvidiaDriver
from tests.unit.nvidia_box import TRAPS, NvidiaBox


def left_over(box: NvidiaBox) -> None:
    """A driver whose GPU has been taken out, and what its module left behind."""
    box.libraries("580.178.04")
    box.module("580.178.04")
    box.load("580.178.04")
    box.packages(["ii nvidia-kernel-dkms 580.178.04-1", "ii nvidia-smi 580.178.04-1"])


def passed_through(box: NvidiaBox) -> None:
    """The same, with a GPU that virtual machines have."""
    left_over(box)
    box.device("0000:07:00.0", "2504", driver="vfio-pci")


def of_another_maker(box: NvidiaBox) -> None:
    """A GPU of AMD's."""
    box.device("0000:07:00.0", "744c", driver="amdgpu")
    box.write("sys/bus/pci/devices/0000:07:00.0/vendor", "0x1002\n")


@pytest.mark.parametrize(
    "fact", [NvidiaDriver, Gpus, CondaCuda, DriverSetup, DeviceHolders, System]
)
@pytest.mark.parametrize("make", [None, left_over, passed_through, of_another_maker])
def test_no_fact_starts_anything_of_the_drivers(
    tmp_path: Path, fact: Any, make: Callable[[NvidiaBox], None] | None
) -> None:
    box = NvidiaBox(tmp_path)
    if make:
        make(box)
    box.ask(fact)
    assert box.started == []


def test_the_traps_are_in_the_way_of_whoever_looks(tmp_path: Path) -> None:
    box = NvidiaBox(tmp_path)
    for name in TRAPS:
        box.output(f"PATH=$PATH:/usr/sbin:/sbin; {name}")
        box.output(f"python3 -c 'import subprocess; subprocess.run([\"{name}\"])'")
    assert sorted(box.started) == sorted([*TRAPS, *TRAPS])


def test_a_fact_that_asks_the_driver_is_trapped(tmp_path: Path) -> None:
    """With a GPU the same fact does ask."""
    box = NvidiaBox(tmp_path)
    left_over(box)
    box.device("0000:07:00.0", "2504")
    box.ask(Gpus)
    assert set(box.started) == {"nvidia-smi"}
