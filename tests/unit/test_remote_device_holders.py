"""What holds NVIDIA's modules: told from /proc and /sys, with the notebook a process belongs to.

No recording has such a box: all of this is synthetic.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import module

device_holders: Any = module("device_holders")

SERVER = "/system.slice/jupyter-ada-singleuser.service"
ROOT = {"user": "root", "server": None}


def process(root: Path, pid: int, name: str, group: str, *files: str) -> None:
    """A process with some files open."""
    folder = root / "proc" / str(pid)
    (folder / "fd").mkdir(parents=True)
    for number, path in enumerate(files):
        (folder / "fd" / str(number)).symlink_to(path)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cgroup").write_text(f"0::{group}\n")


def put(path: Path, content: object) -> None:
    """One of the kernel's files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n")


def loaded(root: Path, **users: list[str]) -> None:
    """Modules that are loaded, each with those that stand on it."""
    (root / "proc").mkdir(exist_ok=True)
    for name, others in users.items():
        references(root, name, len(others))
        for other in others:
            put(root / "sys/module" / name / "holders" / other, "")


def references(root: Path, name: str, number: int) -> None:
    """How often a module is referred to."""
    put(root / "sys/module" / name / "refcnt", number)


def usual(root: Path) -> None:
    """The modules of a server, which stand on each other."""
    loaded(root, nvidia=["nvidia_modeset", "nvidia_uvm", "nvidia_peermem"])
    loaded(root, nvidia_modeset=["nvidia_drm"], nvidia_uvm=[], nvidia_drm=[], nvidia_peermem=[])


def kernel(root: Path) -> Any:
    """What of the kernel is in the way."""
    return device_holders.held(str(root))["kernel"]


def test_processes_with_a_device_open_are_told(tmp_path: Path) -> None:
    process(tmp_path, 12, "python", SERVER, "/dev/null", "/dev/nvidia0", "/dev/nvidia-uvm")
    unit = "/system.slice/nvidia-persistenced.service/x"
    process(tmp_path, 7, "nvidia-persistenced", unit, "/dev/nvidiactl")
    process(tmp_path, 8, "python", SERVER, "/home/ada/nvidia0", "socket:[4]")
    process(tmp_path, 9, "bash", "/")
    put(tmp_path / "proc/uptime", "1 2")
    assert device_holders.held(str(tmp_path))["processes"] == [
        {"pid": 7, "name": "nvidia-persistenced", **ROOT, "unit": "nvidia-persistenced.service"},
        {
            "pid": 12,
            "name": "python",
            "user": "root",
            "server": "jupyter-ada-singleuser.service",
            "unit": "jupyter-ada-singleuser.service",
        },
    ]


@pytest.mark.parametrize("path", ["/dev/dri/card1", "/dev/i2c-4", "/dev/fb1"])
def test_devices_whose_names_do_not_tell_are_known_as_well(tmp_path: Path, path: str) -> None:
    for card, driver in {"card0": "ast", "card1": "nvidia"}.items():
        device = tmp_path / "sys/class/drm" / card / "device"
        device.mkdir(parents=True)
        (device / "driver").symlink_to(f"/sys/bus/pci/drivers/{driver}")
    put(tmp_path / "sys/class/i2c-dev/i2c-3/name", "SMBus I801 adapter")
    put(tmp_path / "sys/class/i2c-dev/i2c-4/name", "NVIDIA i2c adapter 1 at 1:00.0")
    put(tmp_path / "proc/fb", "0 astdrmfb\n1 nvidia-drmdrmfb")
    process(tmp_path, 5, "other", "/", "/dev/dri/card0", "/dev/i2c-3", "/dev/fb0")
    process(tmp_path, 6, "holds", "/", path)
    assert [found["pid"] for found in device_holders.held(str(tmp_path))["processes"]] == [6]


def test_a_process_that_ends_meanwhile_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "proc/5").mkdir(parents=True)
    assert device_holders.held(str(tmp_path)) == {"processes": [], "kernel": []}
    gone = device_holders.described(6, str(tmp_path))
    assert gone == {"pid": 6, "name": "", "user": None, "server": None, "unit": None}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_real_process_is_found() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; f = open('/dev/null'); input()"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            assert device_holders.by(child.pid, "/proc", {"/dev/null": "nvidia"}) == {"nvidia"}
        finally:
            child.kill()


def test_modules_that_are_unloaded_together_are_not_in_the_way(tmp_path: Path) -> None:
    usual(tmp_path)
    assert kernel(tmp_path) == []


@pytest.mark.parametrize("other", ["gdrdrv", "nvidia_fs"])
def test_another_module_that_stands_on_one_is_told(tmp_path: Path, other: str) -> None:
    usual(tmp_path)
    put(tmp_path / "sys/module/nvidia/holders" / other, "")
    references(tmp_path, "nvidia", 4)
    assert kernel(tmp_path) == [f"the module {other}"]


def test_references_that_no_process_can_have_are_the_kernels(tmp_path: Path) -> None:
    usual(tmp_path)
    references(tmp_path, "nvidia_drm", 1)
    process(tmp_path, 7, "nvidia-persistenced", "/", "/dev/nvidiactl", "/dev/nvidia-modeset")
    references(tmp_path, "nvidia", 9)
    references(tmp_path, "nvidia_modeset", 2)
    assert kernel(tmp_path) == ["something in the kernel that uses the module nvidia_drm"]
    process(tmp_path, 8, "smi", "/", "/dev/nvidia-uvm")
    references(tmp_path, "nvidia_uvm", 1)
    assert kernel(tmp_path) == ["something in the kernel that uses the module nvidia_drm"]


@pytest.mark.parametrize(
    ("buffers", "bound", "held"),
    [
        ("0 nvidia-drmdrmfb", 1, True),
        ("0 nvidia-drmdrmfb", 0, False),
        # The server's own graphics have the console.
        ("0 astdrmfb\n1 nvidia-drmdrmfb", 1, False),
        ("0 simpledrmdrmfb", 1, False),
        ("", 1, False),
    ],
)
def test_a_console_on_the_gpu_is_told(tmp_path: Path, buffers: str, bound: int, held: bool) -> None:
    usual(tmp_path)
    put(tmp_path / "proc/fb", buffers)
    for number, name, bind in ((0, "(S) dummy device", 1 - bound), (1, "frame buffer", bound)):
        put(tmp_path / f"sys/class/vtconsole/vtcon{number}/name", f"(M) {name} device")
        put(tmp_path / f"sys/class/vtconsole/vtcon{number}/bind", bind)
    assert kernel(tmp_path) == ["the console, which is on NVIDIA's frame buffer"] * held
