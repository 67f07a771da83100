"""Which packages a driver is, on each system and from each source."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from jupyterbox.driver_choice import Choice, System, Unavailable, upstream
from jupyterbox.driver_states import PASSTHROUGH, Evidence, kernel

WITHOUT_SUFFIX = 590
"""From here on the packages of NVIDIA's repository for Ubuntu have no branch in their names."""

WITHOUT_FABRIC_SUFFIX = 580
"""From here on that of the fabric manager has none there either."""

MODULES = re.compile(r"linux-(?:modules|objects)-nvidia-([0-9]{3}-server(?:-open)?)-.*")
FABRIC = re.compile(r"nvidia-fabricmanager(?:-[0-9]+)?")
DKMS = re.compile(r"nvidia-(dkms(-.*)?|(.*-)?kernel-(open-)?dkms)")
"""The driver's own modules, and not those that stand on it, as nvidia-fs-dkms; for sed, too."""

CUDA_PACKAGES = "nvidia* libnvidia* cuda-drivers* libcuda1* libcudadebugger1* firmware-nvidia*"
"""What of NVIDIA's repository is a driver, and not a toolkit."""


@dataclass(frozen=True)
class Transaction:
    """What apt shall do for a driver.

    `packages` come and `without` go in one step, with each of `optional` that apt can have with
    them: an archive keeps little of what belongs to older kernels. `first` comes before: DKMS
    builds with it. `over` is the suite whose versions replace higher ones from elsewhere.
    """

    packages: tuple[str, ...]
    optional: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    first: Transaction | None = None
    over: str = ""


def transaction(choice: Choice, system: System, evidence: Evidence) -> Transaction:
    """What apt shall do for a driver.

    Raises:
        Unavailable: the archive has no modules for the box's kind of kernel, or no fabric manager
            for its NVSwitches.
    """
    if choice.source == "distribution" and system.os == "ubuntu":
        wanted = prebuilt(choice, system, evidence)
    elif choice.source == "distribution":
        module = "nvidia-open-kernel-dkms" if choice.flavour == "open" else "nvidia-kernel-dkms"
        debians = Transaction((module, "nvidia-smi", "libcuda1"), ("nvidia-persistenced",))
        wanted = built(debians, system, evidence)
    else:
        wanted = built(cuda_packages(choice, system.os), system, evidence)
    if not switches(evidence):
        return wanted
    return replace(wanted, packages=(*wanted.packages, fabric_manager(choice, system, evidence)))


def built(wanted: Transaction, system: System, evidence: Evidence) -> Transaction:
    """What DKMS builds, with what it builds with, and in the place of its likes."""
    kernels = [name for name in held_with(system, system.linux) if name not in headers(system)]
    # With the headers of the kernels that are there, modules are built at once; new headers come
    # with their kernel.
    releases = dict.fromkeys((running(evidence), *system.headers))
    optional = (*(f"linux-headers-{release}" for release in releases), *kernels)
    other = [name for name in others(evidence, DKMS) if name not in wanted.packages]
    first = Transaction(headers(system), optional)
    return replace(wanted, without=tuple(other), first=first)


def switches(evidence: Evidence) -> list[str]:
    """The addresses of the NVSwitches between the GPUs: CUDA fails there without a daemon."""
    return [
        device["address"]
        for device in evidence["devices"]
        if device["kind"] == "nvswitch" and device["driver"] not in PASSTHROUGH
    ]


def lacks_fabric_manager(evidence: Evidence) -> bool:
    """Whether there are NVSwitches, and no fabric manager of the libraries' version."""
    there = [p for p in evidence["packages"] if FABRIC.fullmatch(p["name"])]
    fits = any(upstream(package["version"]) == evidence["userspace"] for package in there)
    return bool(switches(evidence)) and not fits


def fabric_manager(choice: Choice, system: System, evidence: Evidence) -> str:
    """The package of the daemon that NVSwitches need; it works with its own version alone.

    Raises:
        Unavailable: there is none beside the driver.
    """
    name = f"nvidia-fabricmanager-{choice.branch}"
    if choice.source == "cuda":
        # As NVIDIA installs it: github.com/NVIDIA/gpu-driver-container.
        return name if int(choice.branch) < WITHOUT_FABRIC_SUFFIX else "nvidia-fabricmanager"
    needs = f"the NVSwitches {', '.join(switches(evidence)[:4])} need it"
    if system.os == "debian":
        raise Unavailable(f"Debian has no nvidia-fabricmanager, and {needs}: Gpu(source='cuda')")
    known = system.candidates or {}
    driver = known.get(f"nvidia-headless-no-dkms-{choice.branch}-server-open", "")
    if driver and upstream(known.get(name, "")) != upstream(driver):
        raise Unavailable(
            f"apt has no {name} of driver {upstream(driver)}, and {needs}: let apt have "
            f"{system.codename}'s component multiverse, or Gpu(source='cuda')"
        )
    return name


def prebuilt(choice: Choice, system: System, evidence: Evidence) -> Transaction:
    """Ubuntu's modules, which Canonical has built and signed: no DKMS, and Secure Boot is fine."""
    server = f"{choice.branch}-server"
    module = server + ("-open" if choice.flavour == "open" else "")
    # A kernel for virtual machines is the generic one with fewer modules of its own.
    kinds = [kind.replace("virtual", "generic") for kind in system.kernels]
    for kind in kinds:
        name = f"linux-modules-nvidia-{module}-{kind}"
        if system.modules and name not in system.modules:
            raise Unavailable(
                f"Ubuntu has no {choice.flavour} modules of branch {choice.branch} for kernels of "
                f"the kind {kind!r}: install linux-generic in their place, or Gpu(source='cuda')"
            )
    names = [package["name"] for package in evidence["packages"]]
    found = [(name, MODULES.fullmatch(name)) for name in names]
    there = [name for name, match in found if match and match[1] != module]
    return Transaction(
        packages=(
            *(f"linux-modules-nvidia-{module}-{kind}" for kind in kinds or [running(evidence)]),
            f"nvidia-headless-no-dkms-{module}",
            f"nvidia-utils-{server}",
        ),
        # With that of the kernel that runs, no reboot is needed, and with that of the next one, a
        # reboot does no harm; a kernel that these bring comes with all of its own modules, and its
        # headers.
        optional=(
            *(f"linux-modules-nvidia-{module}-{release}" for release in releases(evidence)),
            *held_with(system, system.linux),
        ),
        without=(*there, *others(evidence, DKMS)),
    )


def cuda_packages(choice: Choice, os: str) -> Transaction:
    """The packages for computing alone in NVIDIA's repository, and what may have to be named.

    Its installation guide has them: docs.nvidia.com/datacenter/tesla/driver-installation-guide
    """
    if os == "debian":
        module = "nvidia-kernel-open-dkms" if choice.flavour == "open" else "nvidia-kernel-dkms"
        return Transaction((module, "nvidia-driver-cuda"), ("nvidia-persistenced",))
    suffix = f"-{choice.branch}" if int(choice.branch) < WITHOUT_SUFFIX else ""
    module = f"nvidia-dkms{suffix}" + ("-open" if choice.flavour == "open" else "")
    tools = (f"nvidia-utils{suffix}", f"nvidia-compute-utils{suffix}", "nvidia-persistenced")
    return Transaction((module, f"libnvidia-compute{suffix}"), tools)


def headers(system: System) -> tuple[str, ...]:
    """The packages that bring every new kernel's headers with it."""
    kinds = system.kernels or (("generic",) if system.os == "ubuntu" else (system.architecture,))
    return tuple(f"linux-headers-{kind}" for kind in kinds)


def running(evidence: Evidence) -> str:
    """The kernel that runs."""
    found = kernel(evidence, "running")
    return found["release"] if found else ""


def releases(evidence: Evidence) -> list[str]:
    """The kernel that runs, and the one that boots next where that is another."""
    following = kernel(evidence, "next")
    return list(dict.fromkeys([running(evidence), *([following["release"]] if following else [])]))


def others(evidence: Evidence, pattern: re.Pattern[str]) -> list[str]:
    """The driver's packages whose names match."""
    return [p["name"] for p in evidence["packages"] if pattern.fullmatch(p["name"])]


def held_with(system: System, names: Iterable[str]) -> list[str]:
    """The packages that bring kernels, of those that are installed beside some others.

    They must not move alone where modules are made for one kernel each.
    """
    brings = {
        f"linux-{part}{kind}" for kind in system.kernels for part in ("", "image-", "headers-")
    }
    return sorted(brings & {*names})


def numbers(version: str) -> list[int]:
    """The numbers of a package's version, by which one of the same archive is higher."""
    return [int(part) for part in re.findall(r"[0-9]{1,18}", version)]
