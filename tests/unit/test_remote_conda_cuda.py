"""Which environments carry which CUDA, told from names of files, and whether the driver serves it.

Names of packages, versions and builds are those of conda-forge's, PyTorch's and PyPI's; what is in
the packages does not matter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts.gpu import CondaCuda
from jupyterbox.driver_states import PASSTHROUGH
from tests.unit.nvidia_box import NvidiaBox
from tests.unit.prefixes import make_prefix, pip_install
from tests.unit.remote import answered, module

cuda_of = module("conda_cuda").cuda_of

GTX_1070, RTX_3060 = "10de:1b81", "10de:2504"


@pytest.mark.parametrize(
    ("name", "version", "build", "cuda"),
    [
        ("cuda-version", "12.6", "h7480c83_3", "12.6"),
        ("cudatoolkit", "11.8.0", "h4ba93d1_13", "11.8"),
        ("cuda-cudart", "12.6.77", "h5888daf_0", "12.6"),
        ("nvidia-cuda-runtime-cu12", "12.6.77", "", "12.6"),
        ("nvidia-cuda-runtime-cu11", "11.8.89", "", "11.8"),
        ("nvidia-cuda-runtime", "13.0.48", "", "13.0"),
        ("pytorch", "2.7.0", "cuda126_mkl_py312_h30b5a27_300", "12.6"),
        ("pytorch", "2.5.1", "py3.11_cuda12.1_cudnn9.1.0_0", "12.1"),
        ("libtorch", "2.7.0", "cuda129_generic_hdb8d1a1_201", "12.9"),
        ("tensorflow-base", "2.17.0", "cuda120py311hcd8bf8b_203", "12.0"),
        ("tensorflow", "2.6.2", "cuda112py39h9333c2f_0", "11.2"),
        ("pytorch", "1.7.1", "py3.8_cuda9.2_cudnn7.6.5_0", "9.2"),
        ("torch", "2.7.1+cu126", "", "12.6"),
        ("torch", "1.7.1+cu92", "", "9.2"),
        ("torch", "2.9.1+cu130", "", "13.0"),
        ("jaxlib", "0.4.16+cuda12.cudnn89", "", "12.0"),
        # What has nothing to do with it.
        ("pytorch", "2.7.0", "cpu_mkl_py312_h6a7998d_100", None),
        ("torch", "2.7.1+cpu", "", None),
        ("torch", "2.7.1", "", None),
        ("numpy", "2.2.0", "py312h7e784f5_0", None),
        ("cuda-nvcc-tools", "12.6.85", "he02047a_0", None),
        ("cupy-cuda12x", "13.4.0", "", None),
        ("cuda-version", "nonsense", "0", None),
    ],
)
def test_the_cuda_of_a_package(name: str, version: str, build: str, cuda: str | None) -> None:
    assert cuda_of(name, version, build) == cuda


@given(name=st.text(), version=st.text(), build=st.text())
def test_any_name_has_a_cuda_or_none(name: str, version: str, build: str) -> None:
    for package in (name, "cuda-version"):
        assert cuda_of(package, version, build) is None or "." in cuda_of(package, version, build)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Conda's, with an environment that carries nothing."""
    found = tmp_path / "conda"
    make_prefix(found / "envs/plain")
    return found


def add_package(prefix: Path, stem: str) -> None:
    """Have conda know a package, whose record nobody reads."""
    (prefix / f"conda-meta/{stem}.json").write_text("{}")


def carried(root: Path, name: str) -> list[tuple[str, str]]:
    """What the program finds in an environment."""
    environment = answered("conda_cuda", root=str(root))["environments"][name]
    return [(package["name"], package["cuda"]) for package in environment["carries"]]


def test_an_environment_of_condas(root: Path) -> None:
    add_package(root / "envs/plain", "cuda-version-12.6-h7480c83_3")
    add_package(root / "envs/plain", "pytorch-2.7.0-cuda126_mkl_py312_h30b5a27_300")
    add_package(root / "envs/plain", "numpy-2.2.0-py312h7e784f5_0")
    assert carried(root, "plain") == [("cuda-version", "12.6"), ("pytorch", "12.6")]


def test_an_environment_with_wheels(root: Path) -> None:
    assert carried(root, "plain") == []
    pip_install(root / "envs/plain", "nvidia_cuda_runtime_cu12", "12.8.90")
    pip_install(root / "envs/plain", "torch", "2.8.0+cu128")
    assert carried(root, "plain") == [("nvidia-cuda-runtime-cu12", "12.8"), ("torch", "12.8")]


def test_a_release_is_what_its_link_names(root: Path) -> None:
    for release in ("old", "new"):
        make_prefix(root / f"releases/torch/{release}")
    add_package(root / "releases/torch/new", "cudatoolkit-11.8.0-h4ba93d1_13")
    (root / "envs/torch").symlink_to("../releases/torch/old")
    assert carried(root, "torch") == []
    (root / "envs/torch").unlink()
    (root / "envs/torch").symlink_to("../releases/torch/new")
    assert carried(root, "torch") == [("cudatoolkit", "11.8")]
    (root / "conda-meta").mkdir()
    (root / "envs/gone").symlink_to("../releases/gone/x")
    (root / "envs/file").touch()
    found = answered("conda_cuda", root=str(root))["environments"]
    assert list(found) == ["base", "plain", "torch"]
    assert found["torch"]["prefix"] == str(root / "envs/torch")
    assert found["torch"]["path"] == str(root / "releases/torch/new")


def test_a_box_without_conda(tmp_path: Path) -> None:
    assert answered("conda_cuda", root=str(tmp_path / "none"))["environments"] == {}


# --- the fact ---


def asked(carries: list[tuple[str, str, str]], **box: Any) -> Any:
    """What the fact makes of an environment on a box."""
    packages = [{"name": n, "version": v, "cuda": cuda} for n, v, cuda in carries]
    environment = {"prefix": "/p", "path": "/p", "carries": packages}
    found = {
        "gpus": [RTX_3060],
        "loaded": "535.261.03",
        "userspace": "535.261.03",
        "environments": {"torch": environment},
        **box,
    }
    return CondaCuda().process([json.dumps(found)])


TORCH_13 = [("torch", "2.9.1+cu130", "13.0"), ("cudatoolkit", "11.8.0", "11.8")]
TORCH_12 = [("torch", "2.7.1+cu126", "12.6")]


def test_the_highest_cuda_of_an_environment_has_to_be_served() -> None:
    found = asked(TORCH_13)
    assert (found["driver"], found["cuda"]) == ("535.261.03", "12.2")
    torch = found["environments"]["torch"]
    assert (torch["cuda"], torch["served"]) == ("13.0", False)
    assert [problem["problem"] for problem in found["problems"]] == [
        "environment 'torch' cannot use the GPU: CUDA 13.0 needs a driver 580 or newer, and "
        "535.261.03 is installed."
    ]


def test_a_minor_version_is_served_by_its_major() -> None:
    found = asked(TORCH_12)
    assert found["environments"]["torch"]["served"] is True
    assert found["problems"] == []


@pytest.mark.parametrize(
    ("carries", "box", "served", "why"),
    [
        ([], {}, None, "it carries no CUDA"),
        (TORCH_12, {"gpus": []}, None, "the box has no NVIDIA GPU"),
        (TORCH_12, {"userspace": None}, False, "NVIDIA's driver is not installed"),
        (TORCH_12, {"loaded": None}, False, "module (none) is loaded and the libraries are 535"),
        (
            TORCH_12,
            {"loaded": "550.78"},
            False,
            "module 550.78 is loaded and the libraries are 535",
        ),
    ],
)
def test_what_is_not_the_environments_fault_is_no_problem_of_its(
    carries: list[tuple[str, str, str]], box: dict[str, Any], served: bool | None, why: str
) -> None:
    found = asked(carries, **box)
    assert found["environments"]["torch"]["served"] is served
    assert found["environments"]["torch"]["why"].startswith(why)
    assert found["problems"] == []


def test_cuda_13_has_nothing_for_old_gpus() -> None:
    box: dict[str, Any] = {"loaded": "580.178.04", "userspace": "580.178.04"}
    old = asked(TORCH_13, gpus=[GTX_1070], **box)
    assert old["environments"]["torch"]["served"] is False
    assert "before Turing" in old["problems"][0]["problem"]
    assert asked(TORCH_13, gpus=[GTX_1070, RTX_3060], **box)["problems"] == []
    assert asked(TORCH_12, gpus=[GTX_1070], **box)["environments"]["torch"]["served"] is True


def test_on_a_box(tmp_path: Path, root: Path) -> None:
    box = NvidiaBox(tmp_path / "nvidia")
    box.device("0000:07:00.0", "2504")
    box.load("580.178.04")
    box.libraries("580.178.04")
    pip_install(root / "envs/plain", "torch", "2.9.1+cu130")
    found = box.ask(CondaCuda, root=str(root))
    assert (found["driver"], found["cuda"]) == ("580.178.04", "13.0")
    assert (found["gpus"], found["environments"]["plain"]["served"]) == (1, True)
    assert box.started == []


def test_gpus_that_virtual_machines_have_are_none(tmp_path: Path, root: Path) -> None:
    box = NvidiaBox(tmp_path / "nvidia")
    for slot, name in enumerate(sorted(PASSTHROUGH)):
        box.device(f"0000:0{slot}:00.0", "2504", driver=name)
    pip_install(root / "envs/plain", "torch", "2.9.1+cu130")
    found = box.ask(CondaCuda, root=str(root))
    assert (found["gpus"], found["problems"]) == (0, [])
    assert found["environments"]["plain"]["why"] == "the box has no NVIDIA GPU"
    assert module("driver_files").PASSTHROUGH == PASSTHROUGH
