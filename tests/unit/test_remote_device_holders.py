"""Who has a GPU open: told from /proc, with the notebook that the process belongs to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import module

device_holders: Any = module("device_holders")


def process(proc: Path, pid: int, name: str, group: str, *files: str) -> None:
    """A process with some files open."""
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    for number, path in enumerate(files):
        (folder / "fd" / str(number)).symlink_to(path)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cgroup").write_text(f"0::{group}\n")


SERVER = "/system.slice/jupyter-ada-singleuser.service"


def test_processes_with_a_device_open_are_told(tmp_path: Path) -> None:
    process(tmp_path, 12, "python", SERVER, "/dev/null", "/dev/nvidia0", "/dev/nvidia-uvm")
    process(
        tmp_path,
        7,
        "nvidia-persistenced",
        "/system.slice/nvidia-persistenced.service/x",
        "/dev/nvidiactl",
    )
    process(tmp_path, 8, "python", SERVER, "/home/ada/nvidia0", "socket:[4]")
    process(tmp_path, 9, "bash", "/")
    (tmp_path / "uptime").write_text("1 2\n")
    root = {"user": "root", "server": None}
    assert device_holders.holders(str(tmp_path)) == [
        {"pid": 7, "name": "nvidia-persistenced", **root, "unit": "nvidia-persistenced.service"},
        {
            "pid": 12,
            "name": "python",
            "user": "root",
            "server": "jupyter-ada-singleuser.service",
            "unit": "jupyter-ada-singleuser.service",
        },
    ]


def test_a_process_that_ends_meanwhile_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir()
    assert device_holders.holders(str(tmp_path)) == []
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
            found = device_holders.holders(devices="/dev/null")
            assert child.pid in [holder["pid"] for holder in found]
        finally:
            child.kill()
