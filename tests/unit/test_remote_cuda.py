"""The check of CUDA in every Python kernel of a GPU box: what it asks, and how that is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.remote import module

CUDA = module("cuda")
LIBRARY = """
import os
class CDLL:
    def __init__(self, name):
        assert name == "libcuda.so.1"
        if "missing" in os.environ["SAYS"]:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
    def cuInit(self, flags):
        if "crash" in os.environ["SAYS"]:
            os.abort()
        return int(os.environ["SAYS"])
    def cuDriverGetVersion(self, version):
        version.value = 13000
        return 0
    def cuDeviceGetCount(self, count):
        assert os.environ["SAYS"] == "0", "CUDA is not there to be asked"
        count.value = 2
        return 0
class c_int:
    value = 0
def byref(number):
    return number
"""


def cell(folder: Path, says: str) -> Any:
    """What the cell prints where NVIDIA's library, as Python would see it, says something."""
    (folder / "ctypes.py").write_text(LIBRARY)
    done = subprocess.run(
        [sys.executable, "-c", CUDA.CELL],
        env={"PYTHONPATH": str(folder), "SAYS": says},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_gpu_that_works_is_told_with_the_cuda_that_its_driver_serves(tmp_path: Path) -> None:
    told = CUDA.told(cell(tmp_path, "0"))
    assert told == "cuInit returns 0, the driver serves CUDA 13.0, 2 GPUs"


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (34, "stub"),
        (100, "CUDA_VISIBLE_DEVICES"),
        (101, "CUDA_VISIBLE_DEVICES"),
        (802, "nvidia-fabricmanager"),
        (803, "differs from the module"),
        (804, "differs from the module"),
        (999, "/dev/nvidia-uvm"),
        (46, "cuda.h"),
    ],
)
def test_what_cuinit_returns_is_told_with_its_meaning(
    tmp_path: Path, code: int, meaning: str
) -> None:
    with pytest.raises(CUDA.NoCuda, match=f"^cuInit returns {code}: .*{meaning}.*CUDA 13.0$"):
        CUDA.told(cell(tmp_path, str(code)))


def test_a_library_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CUDA.NoCuda, match=r"^OSError: libcuda\.so\.1: cannot open"):
        CUDA.told(cell(tmp_path, "missing"))


def test_a_library_that_takes_its_process_with_it_leaves_the_kernel_alone(tmp_path: Path) -> None:
    said = cell(tmp_path, "crash")
    with pytest.raises(CUDA.NoCuda):
        CUDA.told(said)


def test_cuda_without_a_gpu_is_none() -> None:
    said = json.dumps({"code": 0, "version": 12040, "devices": 0})
    with pytest.raises(CUDA.NoCuda, match="no GPU; the driver serves"):
        CUDA.told(said)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_whatever_a_kernel_prints_is_told(printed: str) -> None:
    with pytest.raises(CUDA.NoCuda, match=r"\S"):
        CUDA.told(printed)
