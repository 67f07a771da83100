"""The driver: which packages, from where, in which order; its guard; and what is refused."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import OperationError
from pyinfra.api.operations import run_ops
from pyinfra.context import ctx_host, ctx_state

from facts.driver_setup import (
    BLACKLIST,
    CUDA_KEYRING,
    CUDA_SOURCES,
    GUARD,
    PERSISTENCE,
    PINS,
    UVM,
    UVM_NODE,
    DriverSetup,
)
from facts.gpu import NvidiaDriver
from jupyterbox import layout
from jupyterbox.settings import Box, Gpu, Mirrors
from operations import gpu, gpu_apt, gpu_archive, gpu_care, gpu_problems, preflight
from operations.packages import READY
from tests.unit.box import DEPLOYED, NO_GPU, converged
from tests.unit.engine import Shown, deployed, engine, fact, plan, programs, recorded
from tests.unit.engine import run as run_all
from tests.unit.gpu_says import (
    DRIVER,
    GTX_1070,
    KERNELS,
    RTX_3060,
    RTX_5090,
    asked_of_apt,
    becoming,
    driver,
    holders,
    setup,
    works,
)

LOAD_UVM = (
    "modprobe nvidia_uvm && "
    "{ command -v nvidia-modprobe >/dev/null && nvidia-modprobe -c 0 -u || :; }"
)
LOAD = f"modprobe nvidia && {LOAD_UVM}"
NOBODY = holders()
ADA: dict[str, Any] = {
    "pid": 4937,
    "name": "python",
    "user": "ada",
    "server": "jupyter-ada-singleuser.service",
    "unit": "jupyter-ada-singleuser.service",
}


def run(*arguments: Any, **options: Any) -> list[Shown]:
    """The commands of an operation, but for those that note in the journal what comes next."""
    commands = run_all(*arguments, **options)
    return [command for command in commands if layout.JOURNAL not in command]


def transactions(commands: list[Shown]) -> list[tuple[str, list[str]]]:
    """What apt is asked for, and which packages it is asked for besides, if it can have them."""
    assert commands[:2] == [gpu_apt.CLEARED, READY]
    found = []
    for command in commands[2:]:
        assert "DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l" in command
        assert "DPkg::Lock::Timeout=300" in command and "--no-install-recommends" in command
        wanted = command.rpartition("$apt ")[2].partition(" $fit || ")[0]
        tried = [part.partition(" >")[0] for part in command.split(f"$apt -qq -s {wanted} $fit ")]
        found.append((wanted, tried[1:]))
    return found


# --- which packages ---


@pytest.mark.parametrize("release", ["jammy", "noble", "resolute"])
@pytest.mark.parametrize(
    ("branch", "gpus", "flavour", "module"),
    [
        ("580", [RTX_3060], None, "580-server-open"),
        ("580", [RTX_3060], "proprietary", "580-server"),
        ("580", [RTX_5090], None, "580-server-open"),
        ("580", [GTX_1070], None, "580-server"),
        ("580", [GTX_1070, RTX_3060], None, "580-server"),
        ("595", [RTX_3060], None, "595-server-open"),
        ("595", [RTX_3060], "proprietary", "595-server"),
        ("615", [RTX_5090], None, "615-server-open"),
    ],
)
def test_ubuntus_own_modules_come_in_one_transaction(
    release: str, branch: str, gpus: list[str], flavour: Any, module: str
) -> None:
    says = {**driver(release, [(device, "") for device in gpus]), **setup(release)}
    commands = run(gpu.driver, branch=branch, flavour=flavour, says=says)
    assert transactions(commands) == [
        (
            f"linux-modules-nvidia-{module}-generic nvidia-headless-no-dkms-{module} "
            f"nvidia-utils-{branch}-server",
            [
                f"linux-modules-nvidia-{module}-{KERNELS[release]}",
                # A new kernel comes with its extra modules, and its headers.
                "linux-generic",
                "linux-headers-generic",
                "linux-image-generic",
            ],
        )
    ]
    assert "nvidia-dkms" not in str(commands)


@pytest.mark.parametrize(
    ("kernels", "suffixes"),
    [
        (["generic-hwe-24.04"], ["generic-hwe-24.04"]),
        (["generic", "generic-hwe-24.04"], ["generic", "generic-hwe-24.04"]),
        (["virtual"], ["generic"]),
        (["nvidia"], ["nvidia"]),
    ],
)
def test_modules_are_for_the_kind_of_kernel_that_is_installed(
    kernels: list[str], suffixes: list[str]
) -> None:
    # Which there are of the other kinds, apt was not asked when it was recorded.
    known = setup(kernels=kernels)
    unknown = setup(kernels=kernels, modules="")
    says = {**driver(), **(unknown if kernels == ["nvidia"] else known)}
    [(wanted, _)] = transactions(run(gpu.driver, says=says))
    modules = [name for name in wanted.split() if name.startswith("linux-modules-")]
    assert modules == [f"linux-modules-nvidia-580-server-open-{suffix}" for suffix in suffixes]


def test_a_kernel_without_a_metapackage_gets_the_modules_of_its_own_version() -> None:
    says = {**driver(), **setup(linux="", modules="")}
    [(wanted, _)] = transactions(run(gpu.driver, says=says))
    assert wanted.split()[0] == f"linux-modules-nvidia-580-server-open-{KERNELS['noble']}"


@pytest.mark.parametrize(
    ("release", "branch", "gpus", "flavour", "module"),
    [
        ("bookworm", "535", RTX_3060, None, "nvidia-kernel-dkms"),
        ("bookworm", "535", GTX_1070, None, "nvidia-kernel-dkms"),
        ("trixie", "550", RTX_3060, None, "nvidia-kernel-dkms"),
        ("trixie", "550", RTX_5090, None, "nvidia-open-kernel-dkms"),
        ("trixie", "550", RTX_3060, "proprietary", "nvidia-kernel-dkms"),
        ("trixie", "550", GTX_1070, None, "nvidia-kernel-dkms"),
    ],
)
def test_debian_gets_headers_first(
    release: str, branch: str, gpus: str, flavour: Any, module: str
) -> None:
    says = {**driver(release, [(gpus, "")]), **setup(release)}
    assert transactions(run(gpu.driver, branch=branch, flavour=flavour, says=says)) == [
        ("linux-headers-amd64", [f"linux-headers-{KERNELS[release]}", "linux-image-amd64"]),
        (f"{module} nvidia-smi libcuda1", ["nvidia-persistenced"]),
    ]


@pytest.mark.parametrize(
    ("release", "branch", "gpus", "packages", "more"),
    [
        (
            "noble",
            "580",
            RTX_3060,
            "nvidia-dkms-580-open libnvidia-compute-580",
            ["nvidia-utils-580", "nvidia-compute-utils-580", "nvidia-persistenced"],
        ),
        (
            "noble",
            "580",
            GTX_1070,
            "nvidia-dkms-580 libnvidia-compute-580",
            ["nvidia-utils-580", "nvidia-compute-utils-580", "nvidia-persistenced"],
        ),
        (
            "noble",
            "595",
            RTX_5090,
            "nvidia-dkms-open libnvidia-compute",
            ["nvidia-utils", "nvidia-compute-utils", "nvidia-persistenced"],
        ),
        (
            "trixie",
            "580",
            RTX_5090,
            "nvidia-kernel-open-dkms nvidia-driver-cuda",
            ["nvidia-persistenced"],
        ),
        (
            "bookworm",
            "580",
            GTX_1070,
            "nvidia-kernel-dkms nvidia-driver-cuda",
            ["nvidia-persistenced"],
        ),
    ],
)
def test_nvidias_own_repository(
    release: str, branch: str, gpus: str, packages: str, more: list[str]
) -> None:
    says = {**driver(release, [(gpus, "")]), **setup(release)}
    headers, found = transactions(run(gpu.driver, branch=branch, source="cuda", says=says))
    kind = "amd64" if release in ("trixie", "bookworm") else "generic"
    kernels = ["linux-image-amd64"] if kind == "amd64" else ["linux-generic", "linux-image-generic"]
    assert headers == (f"linux-headers-{kind}", [f"linux-headers-{KERNELS[release]}", *kernels])
    assert found == (packages, more)


SWITCHED = """\
0000:05:00.0 0x068000 0x22a3 config=de10 driver=nvidia-nvswitch
0000:07:00.0 0x030200 0x2330 config=de10 driver=nvidia
"""
MANAGED = "LoadState=loaded\nUnitFileState=enabled\nActiveState=active"


@pytest.mark.parametrize("release", ["jammy", "noble", "resolute"])
def test_what_is_asked_for_on_ubuntu_is_what_apt_was_seen_to_do(release: str) -> None:
    recording = recorded(f"gpu/transactions-{release}").removeprefix("@@").split("\n@@")
    seen = {asked.split()[0:1][0]: asked for asked in recording}
    assert len(recording) == 11 and len(seen) == 5
    for branch in ("580", "595", "615"):
        for flavour in ("open", "proprietary") if branch != "615" else ("open",):
            for switched in (False, True):
                more: dict[str, Any] = {"pci": SWITCHED} if switched else {}
                says = {**driver(release, **more), **setup(release)}
                found = run(gpu.driver, branch=branch, flavour=flavour, says=says)
                [(wanted, [modules, *_])] = transactions(found)
                asked = {*wanted.split(), modules}
                [did] = [r for r in recording[:10] if {*r.partition("\n")[0].split()} == asked]
                comes_whole(did.splitlines()[1:], branch, KERNELS[release], switched)


def comes_whole(did: list[str], branch: str, kernel: str, switched: bool) -> None:
    """What apt does brings one driver with its module for the kernel, and builds nothing."""
    assert all(line.startswith("Inst ") for line in did), "something is removed"
    came = {line.split()[1]: line.split()[2].lstrip("(") for line in did}
    assert not [name for name in came if "dkms" in name.replace("no-dkms", "") or "xserver" in name]
    assert [name for name in came if name.endswith(kernel)]
    of_driver = {v.partition("-")[0] for name, v in came.items() if "nvidia-" in name[:10]}
    assert len(of_driver) == 1 and of_driver.pop().startswith(f"{branch}.")
    assert (f"nvidia-fabricmanager-{branch}" in came) == switched


def test_another_branch_brings_its_own_fabric_manager() -> None:
    # As apt was seen to do it: the packages of one branch are in the way of those of another.
    for release in ("jammy", "noble", "resolute"):
        did = recorded(f"gpu/transactions-{release}").split("\n@@")[-1].splitlines()
        assert [line for line in did if line.startswith("Remv nvidia-fabricmanager-580 ")]
        assert [line for line in did if line.startswith("Inst nvidia-fabricmanager-595 (595.")]
        assert not [line for line in did if line.startswith("Inst") and "580" in line.split()[1]]


@pytest.mark.parametrize("release", ["noble", "trixie"])
@pytest.mark.parametrize(
    ("branch", "name"),
    [
        ("570", "nvidia-fabricmanager-570"),
        ("580", "nvidia-fabricmanager"),
        ("595", "nvidia-fabricmanager"),
    ],
)
def test_nvidias_fabric_manager_has_no_branch_in_its_name_from_580_on(
    release: str, branch: str, name: str
) -> None:
    says = {**driver(release, pci=SWITCHED), **setup(release)}
    *_, (wanted, _) = transactions(run(gpu.driver, branch=branch, source="cuda", says=says))
    assert wanted.split()[-1] == name


def test_a_fabric_manager_that_cannot_be_had() -> None:
    says = {**driver("trixie", pci=SWITCHED), **setup("trixie")}
    assert refusal(says, branch="550") == (
        "Debian has no nvidia-fabricmanager, and the NVSwitches 0000:05:00.0 need it: "
        "Gpu(source='cuda')."
    )
    known = asked_of_apt("noble")["candidates"].splitlines()
    without = "\n".join(line for line in known if "fabricmanager" not in line)
    says = {**driver(pci=SWITCHED), **setup(candidates=without)}
    assert refusal(says) == (
        "apt has no nvidia-fabricmanager-580 of driver 580.178.04, and the NVSwitches 0000:05:00.0 "
        "need it: let apt have noble's component multiverse, or Gpu(source='cuda')."
    )
    # On a box without them, nobody needs it.
    assert run(gpu.driver, says={**driver(), **setup(candidates=without)}) != []


def with_fabric_manager(version: str) -> dict[Any, Any]:
    """A driver that works between NVSwitches, with a fabric manager of some version."""
    rows = driver_rows()
    rows.append(f"ii nvidia-fabricmanager-580 {version}-0ubuntu0.24.04.1")
    return works(packages=rows, pci=SWITCHED)


def driver_rows() -> list[str]:
    """The packages of a driver as the operation installs it, as dpkg lists them."""
    lines = works()[DRIVER].partition("@@packages\n")[2].partition("\n\n")[0]
    return list(lines.splitlines())


def test_a_fabric_manager_that_is_missing_or_old_is_installed() -> None:
    there = {**with_fabric_manager("580.178.04"), **setup(fabric=MANAGED)}
    assert run(gpu.driver, says=there) == []
    for says in (works(pci=SWITCHED), with_fabric_manager("580.173.02")):
        [(wanted, _)] = transactions(run(gpu.driver, says={**says, **setup()}))
        assert wanted.split()[-1] == "nvidia-fabricmanager-580"


def test_the_fabric_manager_starts_at_boot_and_now() -> None:
    files = {UVM: UVM_FILE, UVM_NODE: NODE_FILE}
    stopped = setup(files=files, fabric="LoadState=loaded\nUnitFileState=disabled")
    says = {**with_fabric_manager("580.178.04"), **stopped}
    start = "systemctl start nvidia-fabricmanager.service"
    enable = "systemctl enable nvidia-fabricmanager.service"
    assert run(gpu_care.uvm, says=says) == [enable, start]
    running = setup(files=files, fabric=MANAGED)
    assert run(gpu_care.uvm, says={**says, **running}) == []
    # The module is another one until a reboot: it would fail.
    waits = works(loaded="570.211.01", pci=SWITCHED)
    assert run(gpu_care.uvm, says={**waits, **stopped}) == [enable]
    # Somebody's own, on a box that has no switches.
    assert run(gpu_care.uvm, says={**works(), **stopped}) == []


def test_what_dkms_built_and_the_other_flavour_go_in_the_same_transaction() -> None:
    packages = [
        "ii nvidia-dkms-580-server 580.178.04-0ubuntu0.24.04.1",
        "ii linux-modules-nvidia-580-server-generic 6.8.0-151.151",
        "ii linux-objects-nvidia-580-server-6.8.0-151-generic 6.8.0-151.151",
    ]
    says = {**driver(libraries="580.178.04", packages=packages), **setup()}
    [(wanted, _)] = transactions(run(gpu.driver, says=says))
    assert wanted.split()[3:] == [
        "linux-modules-nvidia-580-server-generic-",
        "linux-objects-nvidia-580-server-6.8.0-151-generic-",
        "nvidia-dkms-580-server-",
    ]


# --- what is there, and what is not wanted ---


@pytest.mark.parametrize(
    "says",
    [
        driver(gpus=[]),
        driver(gpus=[(RTX_3060, "vfio-pci")]),
        {**works(), **setup()},
        # As somebody installed it, from wherever: the branch is right.
        {**works(packages=["ii nvidia-driver-580 580.178.04-0ubuntu1"]), **setup()},
    ],
    ids=["no hardware", "passthrough", "there", "there, of other packages"],
)
def test_nothing_is_installed(says: dict[Any, Any]) -> None:
    assert run(gpu.driver, says=says) == []


def test_a_branch_that_is_not_the_declared_one_is_replaced() -> None:
    says = {**works("570.211.01"), **setup()}
    [(wanted, _)] = transactions(run(gpu.driver, says=says))
    assert "nvidia-utils-580-server" in wanted
    assert "linux-modules-nvidia-570-server-open-generic-" in wanted


def test_a_driver_that_waits_for_a_reboot_is_left_alone() -> None:
    following = {"6.8.0-999-generic": "580.178.04"}
    says = {**works(loaded="", modules=following, gpus=[(RTX_3060, "")]), **setup()}
    assert fact(NvidiaDriver, says)["state"] == "module_missing"
    assert run(gpu.driver, says=says) == []


GONE = works("570.211.01", packages=["ii nvidia-driver-570 570.211.01-0ubuntu0.24.04.1"])
"""A driver that works, of a branch that its archive does not have any more."""


@pytest.mark.parametrize(
    "says",
    [
        GONE,
        works("570.211.01", packages=["ii nvidia-dkms-570-open 570.211.01-0ubuntu1"]),
        # What is not loaded, or waits, is there all the same.
        works("570.211.01", loaded="", gpus=[(RTX_3060, "")]),
        works("570.211.01", loaded="570.195.03"),
        # Its fabric manager is there as well.
        works(
            "570.211.01",
            pci=SWITCHED,
            packages=["ii nvidia-fabricmanager-570 570.211.01-0ubuntu0.24.04.1"],
        ),
        # What the next boot breaks, no package mends.
        works("570.211.01", modules={KERNELS["noble"]: "570.211.01", "6.8.0-999-generic": ""}),
    ],
    ids=["gone", "by hand", "not loaded", "to be reloaded", "switches", "next boot"],
)
def test_a_driver_stays_whose_branch_its_archive_does_not_have_any_more(
    says: dict[Any, Any],
) -> None:
    box = {**says, **setup(), **NOBODY}
    assert problems(Gpu(branch="570"), says, setup(), NOBODY) == []
    loads = fact(NvidiaDriver, says)["state"] == "not_loaded"
    assert run(gpu.driver, branch="570", says=box) == ([LOAD] if loads else [])


def test_a_driver_stays_whose_branch_nvidias_repository_does_not_have_any_more() -> None:
    theirs = "cuda=/etc/apt/sources.list.d/cuda.list"
    rows = ["ii libnvidia-compute-570 570.211.01-0ubuntu1"]
    says = works("570.211.01", packages=rows, repositories=[theirs])
    has = with_cuda("noble", ["580.95.05-0ubuntu1"])
    assert problems(Gpu(branch="570", source="cuda"), says, has) == []
    assert run(gpu.driver, branch="570", source="cuda", says={**says, **has}) == []


@pytest.mark.parametrize(
    "declared",
    [
        {"branch": "570", "flavour": "proprietary"},
        {"branch": "570", "source": "cuda"},
        {"branch": "535"},
    ],
)
def test_what_is_not_there_and_cannot_be_had_is_refused(declared: dict[str, Any]) -> None:
    has = with_cuda("noble", ["580.95.05-0ubuntu1"])
    assert "does not have branch" in str(problems(Gpu.model_validate(declared), GONE, has))
    assert "does not have branch" in refusal({**GONE, **has}, **declared)


OLD_ROWS = [
    "hi linux-modules-nvidia-580-server-open-generic 6.8.0-136.136",
    "hi linux-modules-nvidia-580-server-open-6.8.0-136-generic 6.8.0-136.136",
    "hi nvidia-headless-no-dkms-580-server-open 580.173.02-0ubuntu0.24.04.1",
    "hi nvidia-utils-580-server 580.173.02-0ubuntu0.24.04.1",
    "hi linux-image-generic 6.8.0-151.151",
]


def split(**more: Any) -> dict[Any, Any]:
    """A driver that was held when a kernel came, which boots next; its packages are all there."""
    running, following = "6.8.0-136-generic", KERNELS["noble"]
    return works(
        "580.173.02",
        running=running,
        boot=f"{running}\n{following}",
        modules={running: "580.173.02", following: ""},
        packages=OLD_ROWS,
        **more,
    )


def test_a_kernel_that_came_without_its_modules_gets_them() -> None:
    before = {**split(), **setup(), **NOBODY}
    assert fact(NvidiaDriver, before)["flags"]["next_boot_broken"] is True
    [(wanted, tried)] = transactions(run(gpu.driver, says=before))
    assert wanted.split()[0] == "linux-modules-nvidia-580-server-open-generic"
    assert tried[:2] == [
        "linux-modules-nvidia-580-server-open-6.8.0-136-generic",
        f"linux-modules-nvidia-580-server-open-{KERNELS['noble']}",
    ]
    # It is no reason not to deploy, and waits for whoever computes: libraries may move with it.
    assert run(gpu.driver, says={**before, **holders(ADA)}) == []


def test_the_modules_of_the_kernel_that_runs_come_too() -> None:
    # Nothing of the archive's is newer, but a package for this kernel is there.
    rows = [row.replace("136.136", "151.151") for row in OLD_ROWS[:1]]
    rows += [row.replace("580.173.02", "580.178.04") for row in OLD_ROWS[2:]]
    says = {**works(loaded="", modules={KERNELS["noble"]: ""}, packages=rows), **setup()}
    assert fact(NvidiaDriver, says)["kind"] == "other_kernel"
    [(_, tried)] = transactions(run(gpu.driver, says=says))
    assert tried[0] == f"linux-modules-nvidia-580-server-open-{KERNELS['noble']}"


def test_what_apt_cannot_mend_is_not_tried_in_every_deploy() -> None:
    following = {"6.8.0-999-generic": ""}
    says = {**works(modules={KERNELS["noble"]: "580.178.04", **following}), **setup()}
    assert fact(NvidiaDriver, says)["flags"]["next_boot_broken"] is True
    assert run(gpu.driver, says={**says, **NOBODY}) == []


def test_headers_that_a_new_kernel_lacks_are_asked_for() -> None:
    packages = [f"ii {name} 550.163.01-2" for name in ("nvidia-kernel-dkms", "nvidia-smi")]
    packages.append("ii libcuda1 550.163.01-2")
    modules = {KERNELS["trixie"]: "550.163.01", "6.12.200+deb13-amd64": ""}
    broken = works("550.163.01", "trixie", packages=packages, modules=modules)
    has = setup("trixie", headers="6.12.200+deb13-amd64")
    (_, tried), _ = transactions(run(gpu.driver, branch="550", says={**broken, **has, **NOBODY}))
    assert "linux-headers-6.12.200+deb13-amd64" in tried
    # With them, it was tried, and did not build.
    assert run(gpu.driver, branch="550", says={**broken, **setup("trixie"), **NOBODY}) == []


def test_modules_that_are_missing_are_installed() -> None:
    packages = ["ii nvidia-utils-580-server 580.178.04-0ubuntu0.24.04.1"]
    says = {**works(loaded="", modules={}, packages=packages), **setup()}
    assert "linux-modules-nvidia-580-server-open-generic" in str(run(gpu.driver, says=says))


def test_a_driver_that_was_only_not_loaded_is_loaded() -> None:
    says = {**works(loaded="", gpus=[(RTX_3060, "")]), **setup()}
    assert fact(NvidiaDriver, says)["state"] == "not_loaded"
    assert run(gpu.driver, says=says) == [LOAD]


def test_a_module_that_the_libraries_do_not_fit_is_not_loaded() -> None:
    rows = [row.replace("hi ", "ii ") for row in OLD_ROWS]
    rows[3] = "ii nvidia-utils-580-server 580.178.04-0ubuntu0.24.04.1"
    behind: dict[str, Any] = {"modules": {KERNELS["noble"]: "580.173.02"}, "packages": rows}
    says = works(loaded="", gpus=[(RTX_3060, "")], **behind)
    assert fact(NvidiaDriver, says)["kind"] == "split"
    # Packages that fit are on their way, and then it is loaded.
    assert problems(Gpu(), says, setup()) == []
    after = works(loaded="", gpus=[(RTX_3060, "")])
    commands = run(gpu.driver, says=becoming({**says, **setup()}, INSTALLS, after))
    assert commands[-1] == LOAD and len(transactions(commands[:-1])) == 1
    # Where apt has none, it is told, and stays as it is.
    nothing = works(loaded="", gpus=[(RTX_3060, "")], modules=behind["modules"])
    [refused] = problems(Gpu(), nothing, setup())
    assert refused.startswith("the GPU's driver is broken (not_loaded): Module 580.173.02 is not")
    assert run(gpu.driver, says={**nothing, **setup()}) == []
    assert problems(None, says) != []


INSTALLS = "--force-confdef"


@pytest.mark.parametrize(
    ("after", "loads"),
    [
        (works(loaded="", gpus=[(RTX_3060, "")]), True),
        # It takes a reboot to get these off it.
        (works(loaded="", gpus=[(RTX_3060, "nouveau")]), False),
        # Its modules are those of a kernel that has come with them.
        (
            works(loaded="", modules={KERNELS["noble"]: "", "6.8.0-999-generic": "580.178.04"}),
            False,
        ),
        (works(loaded="", gpus=[(RTX_3060, "")], secureboot="SecureBoot enabled"), False),
        (works(loaded="570.211.01", modules={KERNELS["noble"]: "580.178.04"}), False),
    ],
    ids=["free", "nouveau", "another kernel", "Secure Boot", "another one runs"],
)
def test_a_driver_that_was_installed_is_loaded_where_that_does_no_harm(
    after: dict[Any, Any], loads: bool
) -> None:
    commands = run(gpu.driver, says=becoming({**driver(), **setup()}, INSTALLS, after))
    assert "nvidia-headless-no-dkms-580-server-open" in commands[2]
    assert commands[3:] == ([LOAD] if loads else [])


# --- what is refused ---


def refusal(says: dict[Any, Any], **settings: Any) -> str:
    """Why a driver cannot be had, while planning."""
    with pytest.raises(OperationError) as caught:
        plan(gpu.driver, says=says, **settings)
    return str(caught.value).partition("  - ")[2]


@pytest.mark.parametrize(
    ("release", "device", "settings", "says"),
    [
        (
            "trixie",
            RTX_3060,
            {},
            "trixie's archive does not have branch 580: it has 550; or take branch 580 from "
            "NVIDIA's repository, Gpu(source='cuda').",
        ),
        (
            "noble",
            RTX_3060,
            {"branch": "535"},
            "noble's archive does not have branch 535: it has 580, 595, 615; or take branch 535 "
            "from NVIDIA's repository, Gpu(source='cuda').",
        ),
        (
            "bookworm",
            RTX_5090,
            {"branch": "535"},
            "bookworm's archive has branch 535 as proprietary module alone, and 0000:07:00.0 "
            "(10de:2b85) needs the open one: choose another Gpu.branch, or Gpu(source='cuda').",
        ),
        (
            "noble",
            RTX_3060,
            {"branch": "615", "flavour": "proprietary"},
            "noble's archive has branch 615 as open module alone, and 0000:07:00.0 (10de:2504) "
            "needs the proprietary one: choose another Gpu.branch, or Gpu(source='cuda').",
        ),
        (
            "noble",
            RTX_5090,
            {"flavour": "proprietary"},
            "the proprietary module does not drive 0000:07:00.0 (10de:2b85): leave Gpu.flavour "
            "out, or say 'open'.",
        ),
        (
            "noble",
            GTX_1070,
            {"branch": "595"},
            "branch 595 does not drive GPUs before Turing, as 0000:07:00.0 (10de:1b81): 580 is "
            "the last that does.",
        ),
    ],
)
def test_a_driver_that_cannot_be_had(
    release: str, device: str, settings: dict[str, Any], says: str
) -> None:
    assert refusal({**driver(release, [(device, "")]), **setup(release)}, **settings) == says


def test_gpus_that_no_flavour_drives_together() -> None:
    both = driver(gpus=[(GTX_1070, ""), (RTX_5090, "")])
    assert "no flavour of the driver drives all of" in refusal({**both, **setup()})


K80, GT_710 = "102d", "128b"


def test_an_old_display_beside_what_computes_does_not_decide() -> None:
    says = {**driver(gpus=[(GT_710, "nouveau"), (RTX_3060, "")]), **setup()}
    [(wanted, _)] = transactions(run(gpu.driver, says=says))
    assert "nvidia-headless-no-dkms-580-server-open" in wanted
    assert problems(None, works(gpus=[(GT_710, ""), (RTX_3060, "nvidia")])) == []


def test_gpus_that_no_driver_of_today_drives() -> None:
    assert refusal({**driver(gpus=[(K80, ""), (K80, "")]), **setup()}) == (
        "no driver of today drives GPUs before Maxwell, as 0000:07:00.0 (10de:102d), "
        "0000:08:00.0 (10de:102d)."
    )


def test_a_kind_of_kernel_that_ubuntu_has_no_modules_for() -> None:
    says = {**driver(), **setup(kernels=["oem-24.04"])}
    assert refusal(says) == (
        "Ubuntu has no open modules of branch 580 for kernels of the kind 'oem-24.04': install "
        "linux-generic in their place, or Gpu(source='cuda')."
    )


def test_a_box_whose_apt_knows_nothing_yet_is_told_what_its_release_has() -> None:
    says = {**driver("trixie"), **setup("trixie", candidates="")}
    assert "it has 550;" in refusal(says)


# --- where apt has it from ---

LISTS = "/var/lib/apt/lists"
PARTS = "/etc/apt/sources.list.d"


def targets(*rows: str) -> str:
    """What apt fetches, of rows with an archive, a name for its files, a suite and so on."""
    fields = (row.split() for row in rows)
    return "\n".join(f"{site} {LISTS}/{files} {' '.join(more)}" for site, files, *more in fields)


DEBIAN = targets(
    f"http://deb.debian.org/debian deb_trixie_main trixie main {PARTS}/all.sources:2",
    f"http://deb.debian.org/debian deb_trixie_nff trixie non-free-firmware {PARTS}/all.sources:2",
    "http://mirror.local/debian mirror_security_main trixie-security main /etc/apt/sources.list:2",
    f"http://third.example.org/debian third_main trixie main {PARTS}/all.sources:3",
    "http://other.example.org/debian other_main trixie main /etc/apt/sources.list:3",
    f"https://deb.nodesource.com/node node_main nodistro main {PARTS}/node.sources:1",
)
# Of those of one's own mirror and of a third party, only the first says that it is Debian's; from
# Debian's, nothing has been fetched yet.
ORIGINS = f"""\
{LISTS}/mirror_security_InRelease:Origin: Debian
{LISTS}/third_InRelease:Origin: Third Party
"""
BEFORE = """\
# Only a comment.

Enabled: no
Types: deb
URIs: http://x
Suites: trixie
Components: main

# Debian's.
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://third.example.org/debian
Suites: trixie
Components: main
"""


def test_debians_own_entries_get_the_components_that_they_lack(tmp_path: Path) -> None:
    says = {**driver("trixie"), **setup("trixie", archives=DEBIAN, origins=ORIGINS)}
    commands = run(gpu_archive.declared, None, "550", Mirrors(), says=says)
    debian, legacy = tmp_path / "all.sources", tmp_path / "sources.list"
    debian.write_text(BEFORE)
    third = "deb http://other.example.org/debian trixie main\n"
    legacy.write_text(f"# mine\ndeb http://mirror.local/debian trixie-security main # x\n{third}")
    assert len(commands) == 2
    for command in commands:
        command = command.replace(f"/etc/apt/sources.list.d/{debian.name}", str(debian))
        command = command.replace(f"/etc/apt/{legacy.name}", str(legacy))
        subprocess.run(["/bin/sh", "-c", command], check=True)
    amended = BEFORE.replace("non-free-firmware", "non-free-firmware contrib non-free")
    assert debian.read_text().strip() == amended.strip()
    assert legacy.read_text() == (
        "# mine\ndeb http://mirror.local/debian trixie-security main contrib non-free "
        f"non-free-firmware\n{third}"
    )


def test_components_that_are_there_are_not_added() -> None:
    # As apt said of Debian 13 with all of them.
    assert run(gpu_archive.declared, None, "550", Mirrors(), says=on_debian()) == []


def on_debian() -> dict[Any, Any]:
    """Debian 13 with a GPU, and with all components."""
    return {**driver("trixie"), **setup("trixie")}


def test_ubuntus_archive_needs_nothing() -> None:
    assert run(gpu_archive.declared, None, "580", Mirrors(), says={**driver(), **setup()}) == []


SOURCES = f"""\
Types: deb
URIs: https://developer.download.nvidia.com/compute/cuda/repos/{{}}/x86_64/
Suites: /
Signed-By: {CUDA_KEYRING}
"""
HEAD = "# Written by Jupyterbox from the inventory.\n"
DRIVER_PACKAGES = (
    "Package: nvidia* libnvidia* cuda-drivers* libcuda1* libcudadebugger1* firmware-nvidia*\n"
)
PINNED = f"{HEAD}{DRIVER_PACKAGES}Pin: version 580.*\nPin-Priority: 1001\n"
BLOCKED = f"{HEAD}{DRIVER_PACKAGES}Pin: release o=NVIDIA\nPin-Priority: -1\n"


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("jammy", "ubuntu2204"),
        ("noble", "ubuntu2404"),
        ("resolute", "ubuntu2604"),
        ("bookworm", "debian12"),
        ("trixie", "debian13"),
    ],
)
def test_nvidias_repository_is_pinned_to_the_branch(release: str, name: str) -> None:
    says = {**driver(release), **setup(release)}
    _, _, key, *rest = run(gpu_archive.declared, "cuda", "580", Mirrors(), says=says)
    url = f"https://developer.download.nvidia.com/compute/cuda/repos/{name}/x86_64"
    assert f"curl -fsSL {url}/8793F200.pub" in key and f"curl -fsSL {url}/3bf863cc.pub" in key
    assert rest == [
        "mkdir -p /etc/apt/sources.list.d",
        ("put", CUDA_SOURCES, SOURCES.format(name)),
        f"chmod 644 {CUDA_SOURCES}",
        "mkdir -p /etc/apt/preferences.d",
        ("put", PINS, PINNED),
        f"chmod 644 {PINS}",
    ]
    there = {CUDA_KEYRING: "", CUDA_SOURCES: SOURCES.format(name), PINS: PINNED}
    says |= setup(release, files=there)
    assert run(gpu_archive.declared, "cuda", "580", Mirrors(), says=says) == []


def test_a_repository_that_somebody_else_has_set_up_stays() -> None:
    theirs = "cuda=/etc/apt/sources.list.d/cuda-ubuntu2404-x86_64.list"
    says = {**driver(repositories=[theirs]), **setup()}
    paths = [
        c[1]
        for c in run(gpu_archive.declared, "cuda", "580", Mirrors(), says=says)
        if c[0] == "put"
    ]
    assert paths == [PINS]
    # For its toolkits: its drivers have higher versions than the distribution's.
    commands = run(gpu_archive.declared, None, "580", Mirrors(), says=says)
    assert ("put", PINS, BLOCKED) in commands


CUDA_SITE = "https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64"


def with_cuda(release: str, versions: list[str], **more: Any) -> dict[Any, Any]:
    """What apt knows with NVIDIA's repository beside the distribution's archives."""
    asked = asked_of_apt(release)
    row = f"{CUDA_SITE} {LISTS}/nvidia_Packages  $(COMPONENT) {PARTS}/cuda.sources:1"
    highest = "\n".join(f"nvidia-kernel-dkms {v} {CUDA_SITE} Packages" for v in versions)
    added = {
        "archives": f"{asked['archives']}\n{row}",
        "origins": f"{asked['origins']}\n{LISTS}/nvidia_Release:Origin: NVIDIA",
        "candidates": f"{highest}\n{asked['candidates']}",
        "whole": "\n".join([asked["whole"], *(f"nvidia-kernel-dkms {v}" for v in versions)]),
        "cuda": "\n".join(f"nvidia-driver-cuda {v} {CUDA_SITE} Packages" for v in versions),
    }
    return setup(release, **{**added, **more})


def test_another_repository_does_not_hide_debians_branch() -> None:
    says = {**driver("trixie"), **with_cuda("trixie", ["590.44.01-1"])}
    *_, (wanted, _) = transactions(run(gpu.driver, branch="550", says=says))
    assert wanted == "nvidia-kernel-dkms nvidia-smi libcuda1"
    assert "it has 550;" in refusal(says, branch="590")


FROM_CUDA = [
    f"ii {name} 580.95.05-1" for name in ("nvidia-kernel-dkms", "libcuda1", "nvidia-driver-cuda")
]


def test_back_from_nvidias_repository_to_the_distribution() -> None:
    files = {CUDA_KEYRING: "", CUDA_SOURCES: SOURCES.format("debian13"), PINS: PINNED}
    before = works("580.95.05", "trixie", packages=FROM_CUDA, repositories=[f"cuda={CUDA_SOURCES}"])
    there = {**before, **with_cuda("trixie", ["590.44.01-1", "580.95.05-1"], files=files)}
    assert problems(Gpu(branch="550"), there, NOBODY) == []
    # Until the driver is not from there any more, apt knows the repository, and takes nothing.
    commands = run(gpu_archive.declared, None, "550", Mirrors(), says=there)
    assert commands[1:] == [("put", PINS, BLOCKED), f"chmod 644 {PINS}"]
    *_, install, left = run(gpu.driver, branch="550", says=there)
    assert "Pin: release o=Debian,n=trixie-security\\nPin-Priority: 1001" in install
    assert left == f"rm -f {PINS} {CUDA_KEYRING} {CUDA_SOURCES}"
    # As well where the branch would be the same, and only the source is another.
    same = works("580.178.04", packages=["ii libnvidia-compute-580 580.178.04-0ubuntu1"])
    files[CUDA_SOURCES] = SOURCES.format("ubuntu2404")
    says = {**same, **with_cuda("noble", ["580.178.04-0ubuntu1"], files=files)}
    assert "linux-modules-nvidia-580-server-open-generic" in str(run(gpu.driver, says=says))
    # A run that died before the last command.
    says = {**works(), **with_cuda("noble", ["580.178.04-0ubuntu1"], files=files)}
    assert run(gpu.driver, says=says) == [left]


def test_a_repository_of_somebody_elses_keeps_its_pins() -> None:
    theirs = works(repositories=["cuda=/etc/apt/sources.list.d/theirs.list"])
    assert run(gpu.driver, says={**theirs, **setup(files={PINS: BLOCKED})}) == []
    files = {CUDA_SOURCES: SOURCES.format("ubuntu2404"), PINS: BLOCKED}
    [left] = run(gpu.driver, says={**theirs, **setup(files=files)})
    assert left == f"rm -f {CUDA_KEYRING} {CUDA_SOURCES}"


def test_a_branch_that_nvidias_repository_does_not_have() -> None:
    told = programs(cuda_versions=["580.95.05-0ubuntu1", "590.44.01-1ubuntu1"])
    assert problems(Gpu(branch="999", source="cuda"), driver(), setup(), told) == [
        "NVIDIA's repository for this system does not have branch 999: it has 580, 590."
    ]
    assert problems(Gpu(branch="580", source="cuda"), driver(), setup(), told) == []
    # Where its index cannot be had, apt will say what there is.
    nothing = programs(cuda_versions=[])
    assert problems(Gpu(branch="999", source="cuda"), driver(), setup(), nothing) == []
    # Once apt has it, nobody needs to be asked.
    known = {**driver(), **with_cuda("noble", ["580.95.05-1"])}
    assert "branch 999: it has 580." in refusal(known, branch="999", source="cuda")


def test_pins_that_nobody_needs_any_more_go() -> None:
    says = {**driver(), **setup(files={PINS: PINNED})}
    assert run(gpu_archive.declared, None, "580", Mirrors(), says=says) == [f"rm {PINS}"]


@pytest.mark.parametrize("fingerprint", [*gpu_archive.KEYS.values(), "0" * 40])
def test_a_key_that_is_not_known_is_not_kept(tmp_path: Path, fingerprint: str) -> None:
    for name, does in {
        "curl": 'while [ "$1" != -o ]; do shift; done; echo key > "$2"',
        "gpg": f"echo fpr:::::::::{fingerprint}:",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    keyring = tmp_path / "keyring"
    command = gpu_archive.key("https://x").replace(CUDA_KEYRING, str(keyring))
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(
        ["/bin/sh", "-c", command], env={"PATH": path}, capture_output=True, text=True
    )
    known = fingerprint in gpu_archive.KEYS.values()
    assert (done.returncode == 0) == keyring.exists() == known
    assert not Path(f"{keyring}.new").exists()
    if not known:
        assert done.stderr == "no key of NVIDIA that is known here is in https://x.\n"


PPA = "graphics-drivers-ubuntu-ppa-noble"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        (
            f"{PPA}.list",
            "deb http://ppa/graphics-drivers/ppa/ubuntu noble main\ndeb http://x noble main\n",
            "# deb http://ppa/graphics-drivers/ppa/ubuntu noble main\ndeb http://x noble main\n",
        ),
        (f"{PPA}.sources", "Types: deb\nURIs: http://ppa/graphics-drivers/ppa/ubuntu/\n", None),
        (
            "all.sources",
            "Types: deb\nURIs: http://x\n\nTypes: deb\nURIs: http://ppa/graphics-drivers/\n",
            "Types: deb\nURIs: http://x\n\n",
        ),
    ],
)
def test_the_ppa_of_the_article_goes(
    tmp_path: Path, name: str, before: str, after: str | None
) -> None:
    path = f"/etc/apt/sources.list.d/{name}"
    [command] = run(gpu_archive.ppa_removed, says=driver(repositories=[f"ppa={path}"]))
    file = tmp_path / name
    file.write_text(before)
    # Whatever root's umask is, users' apt reads it.
    shell = f"umask 077; {command.replace(path, str(file))}"
    subprocess.run(["/bin/sh", "-c", shell], check=True)
    assert not file.exists() or file.stat().st_mode & 0o777 == 0o644
    assert (file.read_text() if file.exists() else None) == after
    assert run(gpu_archive.ppa_removed, says=driver()) == []


@pytest.mark.parametrize("gpus", [[], [(RTX_3060, "vfio-pci")]])
def test_the_ppa_of_a_box_without_a_gpu_to_drive_stays(gpus: list[tuple[str, str]]) -> None:
    says = driver(gpus=gpus, repositories=[f"ppa=/etc/apt/sources.list.d/{PPA}.list"])
    assert run(gpu_archive.ppa_removed, says=says) == []


# --- the guard ---


def test_all_that_moves_at_once_alone_is_held() -> None:
    [_, (_, path, blacklist), _, hold] = run(gpu_care.guarded, says={**works(), **setup()})
    assert path == GUARD
    assert '  "libnvidia-";\n' in blacklist and '  "linux-image";\n' in blacklist
    kernel = KERNELS["noble"]
    assert hold.split()[2:] == [
        "linux-generic",
        "linux-headers-generic",
        "linux-image-generic",
        f"linux-modules-nvidia-580-server-open-{kernel}",
        "linux-modules-nvidia-580-server-open-generic",
        "nvidia-headless-no-dkms-580-server-open",
        "nvidia-utils-580-server",
    ]
    guarded = {**works(held=True), **setup(files={GUARD: blacklist}, held=True)}
    assert fact(NvidiaDriver, guarded)["flags"]["held"] is True
    assert run(gpu_care.guarded, says=guarded) == []


def test_kernels_may_move_where_dkms_builds_for_each() -> None:
    packages = [
        "ii nvidia-open-kernel-dkms 550.163.01-2",
        "ii libcuda1:amd64 550.163.01-2",
        "ii linux-image-amd64 6.12.117-1",
    ]
    says = {**works("550.163.01", "trixie", packages=packages), **setup("trixie")}
    [_, (_, _, blacklist), _, hold] = run(gpu_care.guarded, says=says)
    assert "linux-" not in blacklist and '  "libcuda";\n' in blacklist
    assert hold == "apt-mark hold libcuda1 nvidia-open-kernel-dkms"


def test_libraries_of_another_architecture_are_held_once() -> None:
    rows = [row.replace("ii ", "hi ", 1) for row in driver_rows()]
    version = "580.178.04-0ubuntu0.24.04.1"
    rows += [f"hi libnvidia-compute-580-server:amd64 {version}"]
    free = {**works(packages=[*rows, f"ii libnvidia-compute-580-server:i386 {version}"])}
    files = {GUARD: gpu_care.blacklist(fact(NvidiaDriver, works()), fact(DriverSetup, setup()))}
    says = setup(files=files, held=True)
    assert run(gpu_care.guarded, says={**free, **says}) == [
        "apt-mark hold libnvidia-compute-580-server:i386"
    ]
    held = works(packages=[*rows, f"hi libnvidia-compute-580-server:i386 {version}"])
    assert run(gpu_care.guarded, says={**held, **says}) == []


def test_packages_that_came_anew_are_held_with_the_rest() -> None:
    files = {GUARD: gpu_care.blacklist(fact(NvidiaDriver, works()), fact(DriverSetup, setup()))}
    says = {**works(held=True), **setup(files=files)}
    assert run(gpu_care.guarded, says=says) == [
        "apt-mark hold linux-generic linux-headers-generic linux-image-generic"
    ]


def test_what_is_split_is_not_held_like_that() -> None:
    split = works(modules={KERNELS["noble"]: "580.178.04", "6.8.0-999-generic": ""})
    assert fact(NvidiaDriver, split)["flags"]["next_boot_broken"] is True
    commands = run(gpu_care.guarded, says={**split, **setup()})
    assert [command for command in commands if "hold" in command] == []
    assert GUARD in [command[1] for command in commands]


@pytest.mark.parametrize("says", [driver(gpus=[]), works(runfile="yes")])
def test_without_packages_there_is_nothing_to_guard(says: dict[Any, Any]) -> None:
    assert run(gpu_care.guarded, says={**says, **setup()}) == []


# --- what runs beside it ---


@pytest.mark.parametrize("bound", ["nouveau", "nova_core"])
def test_other_drivers_are_kept_off_the_gpu(bound: str) -> None:
    says = driver(gpus=[(RTX_3060, bound)])
    *_, last = commands = run(gpu_care.alone, says={**says, **setup()})
    assert ("put", BLACKLIST, gpu_care.BLACKLISTED) in commands
    assert last == "update-initramfs -u -k all"
    files = {BLACKLIST: gpu_care.BLACKLISTED}
    assert run(gpu_care.alone, says={**says, **setup(files=files)}) == []
    # A run that died between the two.
    stale = setup(files=files, initramfs="/boot/initrd.img-6.8.0-151-generic")
    assert run(gpu_care.alone, says={**says, **stale}) == [last]


def test_a_display_of_nouveau_beside_a_driver_that_works_stays() -> None:
    says = works(gpus=[(RTX_3060, "nvidia"), (GTX_1070, "nouveau")])
    assert run(gpu_care.alone, says={**says, **setup()}) == []


UVM_FILE = "# Written by Jupyterbox from the inventory.\nnvidia-uvm\n"
NODE_FILE = """\
# Written by Jupyterbox from the inventory.
ACTION=="add", SUBSYSTEM=="module", KERNEL=="nvidia_uvm", TEST=="/usr/bin/nvidia-modprobe", \
RUN+="/usr/bin/nvidia-modprobe -c 0 -u"
"""


def test_the_module_for_cuda_is_loaded_at_boot_and_udev_makes_its_node() -> None:
    files = {UVM: UVM_FILE, UVM_NODE: NODE_FILE}
    written = [
        "mkdir -p /etc/udev/rules.d",
        ("put", UVM_NODE, NODE_FILE),
        f"chmod 644 {UVM_NODE}",
        "mkdir -p /etc/modules-load.d",
        ("put", UVM, UVM_FILE),
        f"chmod 644 {UVM}",
    ]
    assert run(gpu_care.uvm, says={**works(), **setup()}) == written
    assert run(gpu_care.uvm, says={**works(), **setup(files=files)}) == []
    missing = {**works(uvm=""), **setup(files=files)}
    assert run(gpu_care.uvm, says=missing) == [LOAD_UVM]
    unloaded = {**works(loaded="", uvm=""), **setup(files=files)}
    assert run(gpu_care.uvm, says=unloaded) == []


@pytest.mark.parametrize(
    ("loads", "node", "code", "started"),
    [
        (0, 0, 0, ["modprobe nvidia_uvm", "nvidia-modprobe -c 0 -u"]),
        (0, 1, 0, ["modprobe nvidia_uvm", "nvidia-modprobe -c 0 -u"]),
        # Ubuntu's udev rules make the node: the program need not be there.
        (0, None, 0, ["modprobe nvidia_uvm"]),
        (1, 0, 1, ["modprobe nvidia_uvm"]),
    ],
)
def test_the_node_is_made_where_the_module_was_loaded(
    tmp_path: Path, loads: int, node: int | None, code: int, started: list[str]
) -> None:
    for name, ends in {"modprobe": loads, "nvidia-modprobe": node}.items():
        if ends is not None:
            (tmp_path / name).write_text(
                f"#!/bin/sh\necho {name} $* >>{tmp_path}/on\nexit {ends}\n"
            )
            (tmp_path / name).chmod(0o755)
    done = subprocess.run(["/bin/sh", "-c", gpu_care.LOAD_UVM], env={"PATH": str(tmp_path)})
    assert done.returncode == code
    assert (tmp_path / "on").read_text().splitlines() == started


DROP_IN = """\
# Written by Jupyterbox from the inventory.
[Unit]
StopWhenUnneeded=no

[Service]
ExecStart=
ExecStart=/usr/bin/nvidia-persistenced --user nvidia-persistenced --verbose --persistence-mode
"""
RESTART = "systemctl daemon-reload && systemctl restart nvidia-persistenced.service"


def test_the_daemon_is_told_to_keep_the_gpu_initialized() -> None:
    found = run(gpu_care.persistence, Gpu(), says={**works(), **setup()})
    assert found == [
        f"mkdir -p {PERSISTENCE.rpartition('/')[0]}",
        ("put", PERSISTENCE, DROP_IN),
        f"chmod 644 {PERSISTENCE}",
        "systemctl add-wants multi-user.target nvidia-persistenced.service",
        RESTART,
    ]


def test_a_daemon_that_runs_as_it_shall_is_left_alone() -> None:
    daemon = "exec=/usr/bin/nvidia-persistenced --user x --no-persistence-mode\nwanted=yes\n"
    files = {PERSISTENCE: DROP_IN.replace("nvidia-persistenced --verbose", "x")}
    runs = "runs=/usr/bin/nvidia-persistenced --user x --persistence-mode "
    says = {**works(), **setup(files=files, persistenced=daemon + runs)}
    assert run(gpu_care.persistence, Gpu(), says=says) == []
    # One that was started before, by a run that died.
    says = {**works(), **setup(files=files, persistenced=daemon + "runs=/usr/bin/x --user x")}
    assert run(gpu_care.persistence, Gpu(), says=says) == [RESTART]


def test_a_daemon_that_shall_not_any_more_is_as_its_package_has_it() -> None:
    off, wants = Gpu(persistence=False), "/etc/systemd/system/multi-user.target.wants"
    says = {**works(), **setup(files={PERSISTENCE: DROP_IN})}
    unit, reload = "nvidia-persistenced.service", "systemctl daemon-reload"
    assert run(gpu_care.persistence, off, says=says) == [
        f"rm -f {wants}/{unit}",
        f"rm {PERSISTENCE} && {reload} && systemctl try-restart {unit}",
    ]
    waits = {**works(loaded="580.173.02"), **setup(files={PERSISTENCE: DROP_IN})}
    assert run(gpu_care.persistence, off, says=waits)[1:] == [f"rm {PERSISTENCE} && {reload}"]
    # What others have told it, they may.
    assert run(gpu_care.persistence, off, says={**works(), **setup()}) == []


@pytest.mark.parametrize("says", [driver(gpus=[]), driver(gpus=[(RTX_3060, "vfio-pci")])])
def test_without_a_gpu_no_daemon_is_started(says: dict[Any, Any]) -> None:
    assert run(gpu_care.persistence, Gpu(), says={**says, **setup()}) == []
    assert run(gpu_care.uvm, says={**says, **setup()}) == []


# --- the layer ---


def test_a_box_without_a_declared_driver_has_no_layer() -> None:
    for box in (Box(), Box(gpu=Gpu(ignore=True))):
        assert deployed(gpu.install, box) == {}


def test_the_layer_does_nothing_where_there_is_no_gpu() -> None:
    done = deployed(gpu.install, Box(gpu=Gpu(remove_ppa=True)), says=NO_GPU)
    assert [name.removeprefix("GPU | ") for name in done] == [
        "Take the PPA graphics-drivers off the box",
        "Let apt have the driver, of its branch alone",
        "Keep other drivers off the GPU",
        "Install driver 580",
        "Guard module and libraries against being upgraded apart",
        "Reload the driver, if another one runs",
        "Start at boot what CUDA needs",
        "Keep the GPU initialized",
    ]
    assert not any(done.values())


def test_the_layer_does_nothing_the_second_time() -> None:
    found = fact(NvidiaDriver, works(held=True)), fact(DriverSetup, setup(held=True))
    files = {GUARD: gpu_care.blacklist(*found), UVM: UVM_FILE, UVM_NODE: NODE_FILE}
    files[PERSISTENCE] = DROP_IN
    daemon = (
        "exec=/usr/bin/nvidia-persistenced --user nvidia-persistenced --no-persistence-mode "
        "--verbose\nwanted=yes\nruns=/usr/bin/nvidia-persistenced --persistence-mode"
    )
    says = {**works(held=True), **setup(files=files, held=True, persistenced=daemon)}
    done = deployed(gpu.install, Box(gpu=Gpu()), says=says)
    assert len(done) == 7 and not any(done.values()), done


NO_DAEMON: dict[str, Any] = {"persistenced": ""}


@pytest.mark.parametrize(
    ("release", "declared", "version"),
    [
        ("noble", Gpu(), "580.178.04"),
        ("trixie", Gpu(branch="550"), "550.163.01"),
        ("bookworm", Gpu(branch="535"), "535.309.01"),
        ("noble", Gpu(source="cuda"), "580.95.05"),
        ("trixie", Gpu(source="cuda"), "580.95.05"),
        ("noble", Gpu(persistence=False), "580.178.04"),
    ],
)
def test_on_a_bare_box_the_plan_says_what_the_run_does(
    release: str, declared: Gpu, version: str
) -> None:
    # The daemon comes with the driver, and is seen once that is there.
    bare = {**driver(release), **setup(release, **NO_DAEMON), **NOBODY}
    there: dict[str, Any] = {
        "loaded": "",
        "gpus": [(RTX_3060, "")],
        "packages": [f"ii nvidia-x {version}-1"],
    }
    after = {**works(version, release, **there), **setup(release), **NOBODY}
    planned, done = planned_and_done(Box(gpu=declared), becoming(bare, INSTALLS, after))
    assert planned == done
    assert done["Install driver " + declared.branch]
    assert done.get("Keep the GPU initialized", False) == declared.persistence


RELOADS = "Reload the driver, if another one runs"


@pytest.mark.parametrize(
    ("declared", "reloads"),
    [
        (Gpu(branch="595"), True),
        (Gpu(flavour="proprietary"), True),
        # The same driver, for another kernel.
        (Gpu(), False),
    ],
)
def test_a_plan_that_replaces_what_is_loaded_names_the_reload(declared: Gpu, reloads: bool) -> None:
    says = {**works(), **setup(), **NOBODY}
    with engine(says) as state:
        add_deploy(state, gpu.install, Box(gpu=declared))
        [operations] = state.ops.values()
        [change] = [
            data.operation_meta.will_change
            for op, data in operations.items()
            if state.op_meta[op].names == {f"GPU | {RELOADS}"}
        ]
    assert change == reloads


def planned_and_done(box: Box, says: dict[Any, Any]) -> tuple[dict[str, bool], dict[str, bool]]:
    """Which operations of the layer a plan says will change something, and which have."""
    with engine(says) as state:
        add_deploy(state, gpu.install, box)
        [operations] = state.ops.values()
        names = {op: "".join(state.op_meta[op].names)[len("GPU | ") :] for op in operations}
        planned = {names[op]: data.operation_meta.will_change for op, data in operations.items()}
        run_ops(state)
        metas = {names[op]: data.operation_meta for op, data in operations.items()}
        return planned, {name: bool(meta._commands) for name, meta in metas.items()}


# --- before anything changes ---


def problems(declared: Gpu | None, *says: dict[Any, Any]) -> list[str]:
    """What a box that is deployed is refused for, of its GPU."""
    box = Box(gpu=declared)
    with engine({key: value for part in says for key, value in part.items()}) as state:
        [host] = state.inventory
        with ctx_state.use(state), ctx_host.use(host):
            return list(gpu_problems.problems(box, gpu_problems.look(box)))


def test_preflight_tells_of_them() -> None:
    box = DEPLOYED.model_copy(update={"gpu": None})
    says = {**BROKEN["mismatch"], **{k: v for k, v in converged().items() if k != DRIVER}}
    with pytest.raises(OperationError, match=r"\n  - the GPU's driver is broken \(mismatch\)"):
        run(preflight.check, box=box, says=says)


IGNORE = "To deploy all the same, set Box(gpu=Gpu(ignore=True))."


@pytest.mark.parametrize(
    "says",
    [
        driver(gpus=[]),
        driver(gpus=[(RTX_3060, "vfio-pci")]),
        driver(),
        driver(gpus=[(RTX_3060, "nouveau")]),
        works(),
    ],
    ids=["no hardware", "passthrough", "no driver", "nouveau", "healthy"],
)
def test_a_box_that_is_as_good_as_it_was_is_deployed_to(says: dict[Any, Any]) -> None:
    assert problems(None, says) == []


BROKEN = {
    "mismatch": works(loaded="580.173.02"),
    "module_missing": works(loaded="", modules={KERNELS["noble"]: ""}),
    "not_loaded": works(loaded="", gpus=[(RTX_3060, "")]),
    "foreign_driver": works(loaded="", gpus=[(RTX_3060, "nouveau")]),
    "init_failed": works(gpus=[(RTX_3060, "")]),
}


@pytest.mark.parametrize("state", BROKEN)
def test_a_broken_driver_is_a_reason_not_to_deploy(state: str) -> None:
    found = fact(NvidiaDriver, BROKEN[state])
    assert found["state"] == state
    assert problems(None, BROKEN[state]) == [
        f"the GPU's driver is broken ({state}): {found['problems'][0]['problem']} "
        f"{found['cure']} {IGNORE}"
    ]
    assert problems(Gpu(ignore=True), BROKEN[state]) == []


@pytest.mark.parametrize("state", ["not_loaded", "foreign_driver"])
def test_a_declared_driver_is_deployed_where_that_mends_it(state: str) -> None:
    assert problems(Gpu(), BROKEN[state], setup()) == []


def test_modules_that_are_missing_are_no_reason_where_they_are_about_to_come() -> None:
    missing = works(
        loaded="",
        modules={KERNELS["noble"]: ""},
        packages=["ii nvidia-utils-580-server 580.178.04-0ubuntu0.24.04.1"],
    )
    assert problems(Gpu(), missing, setup()) == []
    # All packages are there, and no module: nothing that is declared mends that.
    [refused] = problems(Gpu(), BROKEN["module_missing"], setup())
    assert refused.startswith("the GPU's driver is broken (module_missing): ")


def test_headers_are_asked_for_where_apt_has_them() -> None:
    packages = [f"ii {name} 550.163.01-2" for name in ("nvidia-kernel-dkms", "nvidia-smi")]
    packages.append("ii libcuda1 550.163.01-2")
    without = driver("trixie", libraries="550.163.01", packages=packages)
    assert fact(NvidiaDriver, without)["kind"] == "no_headers"
    has = setup("trixie", headers="6.12.117+deb13-amd64")
    assert problems(Gpu(branch="550"), without, has) == []
    assert run(gpu.driver, branch="550", says={**without, **has}) != []
    # Else they would be asked for in every deploy.
    [refused] = problems(Gpu(branch="550"), without, setup("trixie"))
    assert "no headers to build it with" in refused
    assert run(gpu.driver, branch="550", says={**without, **setup("trixie")}) == []


def test_a_module_that_does_not_build_is_not_built_again_and_again() -> None:
    packages = ["ii nvidia-open-kernel-dkms 550.163.01-2"]
    unbuilt = driver("trixie", libraries="550.163.01", packages=packages, headers="yes")
    assert fact(NvidiaDriver, unbuilt)["kind"] == "not_built"
    [refused] = problems(Gpu(branch="550"), unbuilt, setup("trixie"))
    assert "make.log" in refused
    assert run(gpu.driver, branch="550", says={**unbuilt, **setup("trixie")}) == []


def test_a_mismatch_is_no_reason_where_a_reload_is_free_to_cure_it() -> None:
    assert problems(Gpu(), works(loaded="580.173.02"), setup(), NOBODY) == []
    [held] = problems(Gpu(), works(loaded="580.173.02"), setup(), holders(ADA))
    assert held.startswith("the GPU is held by process 4937 (python) of ada")
    # The deploy leaves it to a reboot.
    assert problems(Gpu(), works(loaded="580.173.02"), setup(), holders(kernel=["gdrdrv"])) == []


def test_another_branch_waits_for_whoever_computes() -> None:
    assert problems(Gpu(), works("570.211.01"), setup(), NOBODY) == []
    [held] = problems(Gpu(), works("570.211.01"), setup(), holders(ADA))
    assert held.startswith("the GPU is held by")


def test_whoever_has_begun_to_compute_meanwhile_keeps_the_driver() -> None:
    says = {**works("570.211.01"), **setup()}
    assert "the GPU is held by process 4937 (python) of ada" in refusal({**says, **holders(ADA)})
    # While apt was getting ready, which may take minutes.
    found = run(
        gpu.driver,
        says=becoming({**says, **NOBODY}, "dpkg --configure -a", {**says, **holders(ADA)}),
    )
    assert [found[0], found[1]] == [gpu_apt.CLEARED, READY]
    assert len(found) == 3 and "- the GPU is held by process 4937" in str(found[2])
    # What is not loaded, nobody computes with.
    says = {**works("570.211.01", loaded="", gpus=[(RTX_3060, "")]), **setup(), **holders(ADA)}
    assert INSTALLS in str(run(gpu.driver, says=says)[2])


def test_a_deploy_does_not_refuse_the_box_that_it_left_waiting_for_a_reboot() -> None:
    modules = {KERNELS["noble"]: "", "6.8.0-999-generic": "580.178.04"}
    left = works(loaded="570.211.01", modules=modules)
    assert (found := fact(NvidiaDriver, left))["kind"] == "reboot_cures"
    assert found["state"] == "mismatch"
    assert problems(Gpu(), left, setup(), holders(ADA)) == []
    # Nobody declared it: that somebody else's upgrade broke it is told.
    assert problems(None, left) != []


def test_the_other_flavour_waits_for_whoever_computes() -> None:
    names = ["linux-modules-nvidia-580-server-generic", "nvidia-headless-no-dkms-580-server"]
    rows = [f"ii {name} 580.178.04-0ubuntu0.24.04.1" for name in names]
    says = works(gpus=[(RTX_5090, "nvidia")], flavour="proprietary", packages=rows)
    assert fact(NvidiaDriver, says)["kind"] == "wrong_flavour"
    assert problems(Gpu(), says, setup(), NOBODY) == []
    [held] = problems(Gpu(), says, setup(), holders(ADA))
    assert held.startswith("the GPU is held by process 4937 (python) of ada")
    # Once the other one is there, and waits for a reboot, nothing is replaced any more.
    left = works(gpus=[(RTX_5090, "nvidia")], flavour="proprietary")
    assert fact(NvidiaDriver, left)["kind"] == "wrong_flavour"
    assert problems(Gpu(), left, setup(), holders(ADA)) == []
    assert run(gpu.driver, says={**left, **setup()}) == []


def test_a_flavour_that_does_not_drive_the_gpu_is_refused_before_anything_changes() -> None:
    [refused] = problems(Gpu(flavour="proprietary"), driver(gpus=[(RTX_5090, "")]), setup())
    assert refused.startswith("the proprietary module does not drive 0000:07:00.0 (10de:2b85)")


def test_the_ppa_is_told_with_its_cure() -> None:
    ppa = f"ppa=/etc/apt/sources.list.d/{PPA}.list"
    says = works(repositories=[ppa])
    assert problems(Gpu(), says, setup()) == [
        "apt has the PPA graphics-drivers, which replaces the distribution's driver: set "
        "Gpu(remove_ppa=True), or take it out of apt's sources."
    ]
    assert problems(Gpu(remove_ppa=True), says, setup()) == []


def test_a_driver_of_the_runfile_is_not_installed_over() -> None:
    says = driver(libraries="570.211.01", runfile="yes")
    assert problems(Gpu(), says, setup()) == [
        "the driver is from NVIDIA's .run installer, which packages cannot replace: run "
        "`nvidia-uninstall` on the box."
    ]


# --- the journal ---


def noted(*arguments: Any, **options: Any) -> list[str]:
    """What an operation notes in the journal."""
    commands = [c for c in run_all(*arguments, **options) if layout.JOURNAL in c]
    return [line for command in commands for line in re.findall(r"'(\w+ [^'\n]+)'", command)]


def test_packages_of_the_driver_that_were_not_there_are_noted_before_they_come() -> None:
    says = {**driver("trixie"), **setup("trixie")}
    first = run_all(gpu.driver, branch="550", says=says)[0]
    assert layout.JOURNAL in first and "'package nvidia-" in first


def test_what_only_the_gpus_layer_can_have_known_is_noted() -> None:
    says = {**driver("trixie"), **setup("trixie", archives=DEBIAN, origins=ORIGINS)}
    assert "component contrib in /etc/apt/sources.list.d/all.sources" in noted(
        gpu_archive.declared, None, "550", Mirrors(), says=says
    )
    found = noted(gpu_care.guarded, says={**works(), **setup()})
    assert "hold linux-generic" in found and "hold nvidia-utils-580-server" in found
    assert noted(gpu_care.persistence, Gpu(), says={**works(), **setup()}) == [
        "file /etc/systemd/system/multi-user.target.wants/nvidia-persistenced.service"
    ]
