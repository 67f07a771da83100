"""The driver: which packages, from where, in which order; its guard; and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError

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
from jupyterbox.settings import Box, Gpu, Mirrors
from operations import gpu, gpu_archive, gpu_care, preflight
from operations.packages import READY
from tests.unit.box import DEPLOYED, NO_GPU, converged
from tests.unit.engine import Shown, deployed, fact, plan, run
from tests.unit.gpu_says import (
    GTX_1070,
    KERNELS,
    RTX_3060,
    RTX_5090,
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


def transactions(commands: list[Shown]) -> list[tuple[str, list[str]]]:
    """What apt is asked for, and which packages it is asked for besides, if it can have them."""
    assert commands[:2] == [gpu.CLEARED, READY]
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


def test_apt_is_asked_which_of_the_optional_packages_fit(tmp_path: Path) -> None:
    apt = tmp_path / "apt-get"
    # One that knows neither of the packages for this kernel.
    apt.write_text(
        "#!/bin/sh\ncase $* in *-s*old-kernel*) exit 100 ;; *-s*) exit 0 ;; esac\necho ran $*\n"
    )
    apt.chmod(0o755)
    wanted = gpu.Transaction(("a", "b"), ("old-kernel", "tools"), without=("c",))
    [command] = gpu.step(wanted).args
    done = subprocess.run(
        ["/bin/sh", "-c", command.get_raw_value()],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith(" install a b c- tools\n")


REMOVED = "-y -qq -o DPkg::Lock::Timeout=300 --allow-change-held-packages remove nvidia-kernel-dkms"


def with_packages(tmp_path: Path, said: str, command: Shown) -> Any:
    """Run a command where dpkg says so of packages, and apt installs none; what apt was asked."""
    asked = tmp_path / "asked"
    asked.write_text("")
    for name, does in {
        "apt-get": f"echo $* >>{asked}\n"
        "case $* in *' -s '* | *remove*) ;; *) echo 'E: no space' >&2; exit 100 ;; esac",
        "dpkg-query": f"printf '{said}'",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", str(command)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr, asked.read_text().splitlines()


@pytest.mark.parametrize("state", ["half-configured", "unpacked", "installed", "not-installed", ""])
def test_a_module_that_does_not_build_is_taken_off_again_and_told(
    tmp_path: Path, state: str
) -> None:
    # As on Debian 13 on 2026-11-23, with kernel 6.12.117.
    error = "nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'"
    (tmp_path / "make.log").write_text(f"CC nv-pci.o\n{error}\n")
    says = {**driver("trixie"), **setup("trixie")}
    *_, command = run(gpu.driver, branch="550", says=says)
    assert "'${db:Status-Status}' nvidia-kernel-dkms" in command
    log = tmp_path / "kept.log"
    command = str(command).replace("/var/lib/dkms/nvidia*/*/build", str(tmp_path))
    command = command.replace(gpu.MAKE_LOG, str(log))
    code, told, asked = with_packages(tmp_path, state, command)
    assert code == 1
    if state in ("half-configured", "unpacked"):
        assert told == (
            f"E: no space\n{error}\nnvidia-kernel-dkms was not installed: does it build for every "
            f"kernel? See {log}.\n"
        )
        assert asked[-1] == REMOVED
    else:
        # Whatever else apt fails with, it says itself; what was there stays.
        assert told == "E: no space\n"
        assert "remove" not in str(asked)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("half-configured nvidia-kernel-dkms\\ninstalled nvidia-dkms-580\\n", [REMOVED]),
        ("unpacked nvidia-kernel-dkms\\n", [REMOVED]),
        ("installed nvidia-kernel-dkms\\n", []),
        ("unpacked nvidia-headless-no-dkms-580-server\\n", []),
        ("", []),
    ],
)
def test_a_module_that_did_not_build_before_is_not_built_by_dpkg_again(
    tmp_path: Path, said: str, asked: list[str]
) -> None:
    cleared, ready, *_ = run(gpu.driver, says={**driver("noble"), **setup()})
    assert ready == READY
    assert with_packages(tmp_path, said, cleared) == (0, "", asked)


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


def test_modules_that_are_missing_are_installed() -> None:
    packages = ["ii nvidia-utils-580-server 580.178.04-0ubuntu0.24.04.1"]
    says = {**works(loaded="", modules={}, packages=packages), **setup()}
    assert "linux-modules-nvidia-580-server-open-generic" in str(run(gpu.driver, says=says))


def test_a_driver_that_was_only_not_loaded_is_loaded() -> None:
    says = {**works(loaded="", gpus=[(RTX_3060, "")]), **setup()}
    assert fact(NvidiaDriver, says)["state"] == "not_loaded"
    assert run(gpu.driver, says=says) == [LOAD]


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

DEBIAN = """\
trixie main /etc/apt/sources.list.d/debian.sources:1
trixie non-free-firmware /etc/apt/sources.list.d/debian.sources:1
trixie-security main /etc/apt/sources.list:2
nodistro main /etc/apt/sources.list.d/nodesource.sources:1
"""


def test_debians_own_entries_get_the_components_that_they_lack(tmp_path: Path) -> None:
    says = {**driver("trixie"), **setup("trixie", archives=DEBIAN)}
    commands = run(gpu_archive.declared, None, "550", Mirrors(), says=says)
    debian, legacy = tmp_path / "debian.sources", tmp_path / "sources.list"
    debian.write_text("Types: deb\nSuites: trixie\nComponents: main non-free-firmware\n")
    legacy.write_text("deb http://security trixie-security main\ndeb http://x stable main\n")
    for command in commands:
        for path in (debian, legacy):
            folder = "/etc/apt/sources.list.d" if path == debian else "/etc/apt"
            command = command.replace(f"{folder}/{path.name}", str(path))
        subprocess.run(["/bin/sh", "-c", command], check=True)
    assert debian.read_text().splitlines()[2] == (
        "Components: main non-free-firmware contrib non-free"
    )
    assert legacy.read_text() == (
        "deb http://security trixie-security main contrib non-free non-free-firmware\n"
        "deb http://x stable main\n"
    )


def test_components_that_are_there_are_not_added() -> None:
    every = "".join(
        f"trixie {component} /etc/apt/sources.list.d/debian.sources:1\n"
        for component in ("main", "contrib", "non-free", "non-free-firmware")
    )
    says = {**driver("trixie"), **setup("trixie", archives=every)}
    assert run(gpu_archive.declared, None, "550", Mirrors(), says=says) == []


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
    subprocess.run(["/bin/sh", "-c", command.replace(path, str(file))], check=True)
    assert (file.read_text() if file.exists() else None) == after
    assert run(gpu_archive.ppa_removed, says=driver()) == []


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
ACTION=="add", SUBSYSTEM=="module", KERNEL=="nvidia_uvm", RUN+="/usr/bin/nvidia-modprobe -c 0 -u"
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
    found = run(gpu_care.persistence, says={**works(), **setup()})
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
    assert run(gpu_care.persistence, says=says) == []
    # One that was started before, by a run that died.
    says = {**works(), **setup(files=files, persistenced=daemon + "runs=/usr/bin/x --user x")}
    assert run(gpu_care.persistence, says=says) == [RESTART]


@pytest.mark.parametrize("says", [driver(gpus=[]), driver(gpus=[(RTX_3060, "vfio-pci")])])
def test_without_a_gpu_no_daemon_is_started(says: dict[Any, Any]) -> None:
    assert run(gpu_care.persistence, says={**says, **setup()}) == []
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
        "Load the module for CUDA at boot",
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


# --- before anything changes ---


def problems(declared: Gpu | None, *says: dict[Any, Any]) -> list[str]:
    """What a box that is deployed is refused for, of its GPU."""
    box = DEPLOYED.model_copy(update={"gpu": declared})
    found = {key: value for part in says for key, value in part.items()}
    found |= {key: value for key, value in converged().items() if key not in found}
    try:
        assert run(preflight.check, box=box, says=found) == []
    except OperationError as error:
        return [line.removeprefix("  - ") for line in str(error).split("\n")[1:]]
    return []


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
    has = setup("trixie", headers="linux-headers-6.12.117+deb13-amd64")
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
