"""NVIDIA's tables, beside what its drivers were recorded to say."""

from __future__ import annotations

import re

import pytest

from jupyterbox.nvidia import dotted, flavours, highest_cuda, parsed, serves
from tests.unit.nvidia_box import NVIDIA

DRIVER = r"(?:<driver_version>|KMD Version: +|NVIDIA-SMI version +: +)([0-9.]+)"
CUDA = r"(?:<cuda_version>|CUDA (?:UMD )?[Vv]ersion *: +)([0-9.]+)"
TOLD = [
    (match[1], cuda[1])
    for path in sorted(NVIDIA.glob("nvidia-smi-*/*"))
    if (match := re.search(DRIVER, path.read_text()))
    if (cuda := re.search(CUDA, path.read_text()))
]


@pytest.mark.parametrize(
    ("device", "drive"),
    [
        ("10de:2342", ["open"]),
        ("10de:2348", ["open"]),
        ("10de:2330", ["open", "proprietary"]),
        ("10de:2941", ["open"]),
        ("10de:1b81", ["proprietary"]),
    ],
    ids=["GH200", "GH200 144G", "H100", "GB200", "GTX 1070"],
)
def test_what_drives_a_gpu(device: str, drive: list[str]) -> None:
    assert flavours(device) == drive


def test_drivers_that_say_which_cuda_they_serve() -> None:
    assert len(TOLD) >= 8
    for driver, cuda in TOLD:
        highest = highest_cuda(driver)
        assert highest and dotted(highest) == cuda, driver


@pytest.mark.parametrize(
    ("driver", "cuda", "served"),
    [
        ("535.261.03", "12.2", True),
        ("535.261.03", "11.8", True),
        ("535.261.03", "8.0", True),
        # By compatibility within 12.x, but not to 13.
        ("535.261.03", "12.9", True),
        ("535.261.03", "13.0", False),
        ("450.80.02", "11.8", True),
        ("450.80.02", "12.0", False),
        # There is none within 10.x.
        ("418.39", "10.2", False),
        ("440.33", "10.2", True),
        ("580.178.04", "13.0", True),
        ("580.178.04", "13.3", True),
        ("580.178.04", "14.0", False),
        # Both are newer than what is known.
        ("615.71.09", "13.9", True),
        ("615.71.09", "14.0", None),
        ("340.108", "9.0", False),
    ],
)
def test_who_serves_what(driver: str, cuda: str, served: bool | None) -> None:
    version = parsed(cuda)
    assert version
    found, why = serves(driver, version)
    assert found is served
    assert driver in why


def test_what_is_needed_instead() -> None:
    assert serves("535.261.03", (13, 1)) == (
        False,
        "CUDA 13.1 needs a driver 580 or newer, and 535.261.03 is installed",
    )
    assert "needs a driver 440 or newer" in serves("418.39", (10, 2))[1]
    assert "needs a driver newer than 610" in serves("610.57.04", (14, 0))[1]


@pytest.mark.parametrize(
    ("text", "cuda"), [("12.6", (12, 6)), ("12.6.77", (12, 6)), ("12", None), ("", None)]
)
def test_versions_of_cuda(text: str, cuda: tuple[int, int] | None) -> None:
    assert parsed(text) == cuda


@pytest.mark.parametrize(
    ("device", "drivers"),
    [
        ("10de:0649", []),  # GeForce 9600M GT
        ("10de:102d", []),  # K80, Kepler
        ("10de:128b", []),  # GT 710, Kepler
        ("10de:1340", ["proprietary"]),  # GeForce 830M, the first Maxwell
        ("10de:1b81", ["proprietary"]),  # GTX 1070, Pascal
        ("10de:1db1", ["proprietary"]),  # V100, Volta
        ("10de:1e04", ["open", "proprietary"]),  # RTX 2080 Ti, Turing
        ("10de:20b2", ["open", "proprietary"]),  # A100
        ("10de:28f8", ["open", "proprietary"]),  # the last Ada
        ("10de:2330", ["open", "proprietary"]),  # H100
        ("10de:2901", ["open"]),  # B200
        ("10de:2b85", ["open"]),  # RTX 5090
        ("10de:2e12", ["open"]),  # GB10
        ("10de:", ["open", "proprietary"]),
    ],
)
def test_which_flavour_drives_a_gpu(device: str, drivers: list[str]) -> None:
    assert flavours(device) == drivers
