"""`jupyterbox status` on boxes with NVIDIA GPUs: what it shows of the driver, and of the GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from facts.gpu import CondaCuda, Gpus, NvidiaDriver
from tests.examples import REPORT
from tests.unit.nvidia_box import WORKING, NvidiaBox, said, working_box
from tests.unit.prefixes import make_prefix, pip_install
from tests.unit.test_gpu_use import H100_LIST, H100_TABLE, as_report, as_table
from tests.unit.test_status import printed, shown

# No process has such a number, on any machine.
RTX_4000 = said(REPORT).replace("<pid>4937<", "<pid>99999999<")

box = working_box


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Conda's root, with an environment for CUDA 13."""
    found = tmp_path / "conda"
    make_prefix(found)
    make_prefix(found / "envs/torch")
    pip_install(found / "envs/torch", "torch", "2.9.1+cu130")
    return found


def page(box: NvidiaBox, root: str = "/nowhere") -> str:
    """What is shown of a box's GPUs, and of the environments of a root, with single spaces."""
    answers: dict[str, Any] = {"driver": box.ask(NvidiaDriver), "gpus": box.ask(Gpus)}
    answers["cuda"] = box.ask(CondaCuda, root=root)
    return "\n".join(" ".join(line.split()) for line in printed(shown(**answers), 120).splitlines())


def test_a_driver_that_works_and_who_computes(box: NvidiaBox) -> None:
    [gpu] = ElementTree.fromstring(RTX_4000).iter("gpu")
    box.device(f"0000:{gpu.attrib['id'].lower()[-7:]}", "27b0")
    box.smi(as_table(RTX_4000), RTX_4000)
    text = page(box)
    assert f"\nGPU driver\nstate healthy\nmodule {WORKING} (open)\nlibraries {WORKING}\n" in text
    assert "\nupgrades not by unattended-upgrades\n" in text
    assert "0 NVIDIA RTX 4000 SFF Ada Generation 3.5 GB of 20.0 GB 0 % 38 °C" in text
    assert "process 99999999 (160 MB)" in text


def test_one_that_is_broken_is_not_asked_what_its_gpus_do(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", "2504")
    box.load("595.71")
    box.kernel("6.8.0-151-generic")
    text = page(box)
    assert "\nstate mismatch, reload cures\nmodule 595.71 (open)\nlibraries 595.84\n" in text
    assert "\nnext boot breaks it\n" in text
    assert "\n0000:07:00.0 - - - - -\n" in text
    assert box.started == []


def test_instances_of_mig_are_counted(box: NvidiaBox) -> None:
    box.device("0000:00:09.0", "2330")
    report = as_report(said("nvidia-smi-q/hopper-h100-mig__590.48.01.txt"))
    box.smi(H100_TABLE, report, H100_LIST)
    assert "NVIDIA H100 80GB HBM3, 4 instances of MIG" in page(box)


def test_a_gpu_that_is_lost_is_said_to_be(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", "2504", lost=True)
    box.smi("No devices were found\n", code=6)
    assert "state bus lost\n" in page(box)
    assert ", lost" in page(box)


def test_a_box_that_has_no_driver_yet(tmp_path: Path) -> None:
    box = NvidiaBox(tmp_path)
    box.device("0000:07:00.0", "2504", "nouveau")
    text = page(box)
    assert "\nGPU driver\nstate no driver, nouveau\nmodule -\nlibraries -\nfrom -\n" in text
    assert "upgrades" not in text
    assert "\nGPUs\n" not in text


def test_which_environments_can_compute(box: NvidiaBox, root: Path, tmp_path: Path) -> None:
    box.device("0000:07:00.0", "2504")
    text = page(box, str(root))
    assert "\nCUDA\nenvironment CUDA computes on the GPUs\n" in text
    assert "\nbase - it carries no CUDA\n" in text
    assert "\ntorch 13.0 yes\n" in text
    old = NvidiaBox(tmp_path / "old")
    old.device("0000:07:00.0", "2504")
    old.load("535.261.03")
    old.libraries("535.261.03")
    text = page(old, str(root))
    why = "no: CUDA 13.0 needs a driver 580 or newer, and 535.261.03 is installed"
    assert f"\ntorch 13.0 {why}\n" in text


@pytest.mark.parametrize("bound", ["", "vfio-pci"])
def test_nothing_is_shown_where_there_is_no_gpu(tmp_path: Path, root: Path, bound: str) -> None:
    box = NvidiaBox(tmp_path / "nvidia")
    if bound:
        box.device("0000:07:00.0", "2504", bound)
    assert "CUDA" not in page(box, str(root))
    assert "GPU" not in page(box, str(root)) or bound
