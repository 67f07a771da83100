"""Which packages a driver is, on each system and from each source: tables, and what reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from jupyterbox.driver_states import Evidence, PciFunction, gpus, kernel
from jupyterbox.nvidia import Flavour, flavours

Branches = dict[str, list[Flavour]]

BOTH: list[Flavour] = ["open", "proprietary"]
UBUNTU: Branches = {"580": BOTH, "595": BOTH, "615": ["open"]}
ARCHIVES: dict[str, Branches] = {
    "jammy": UBUNTU,
    "noble": UBUNTU,
    "resolute": UBUNTU,
    # Its security archive has moved the proprietary one on, and the open one does not fit any more.
    "bookworm": {"535": ["proprietary"]},
    "trixie": {"550": BOTH},
}
"""What the distributions' archives have, in November 2026; a box's apt knows better."""

LAST_FOR_OLD = 580
"""The last branch that drives GPUs before Turing."""

LEGACY = 470
"""The last branch for Kepler: Ubuntu has its modules for no kernel of today."""

WITHOUT_SUFFIX = 590
"""From here on the packages of NVIDIA's repository for Ubuntu have no branch in their names."""

WITHOUT_PROPRIETARY = 610
"""From here on the packages of the proprietary flavour bring the open one."""

HEADLESS = re.compile(r"nvidia-headless-no-dkms-([0-9]{3})-server(-open)?")
MODULES = re.compile(r"linux-(?:modules|objects)-nvidia-([0-9]{3}-server(?:-open)?)-.*")
DKMS = re.compile(r"nvidia-(?!headless-no-)(?:.*-)?dkms(?:-.*)?")

CUDA_PACKAGES = "nvidia* libnvidia* cuda-drivers* libcuda1* libcudadebugger1* firmware-nvidia*"
"""What of NVIDIA's repository is a driver, and not a toolkit."""


class Unavailable(Exception):
    """Why a driver cannot be had, and what can: one sentence."""


@dataclass(frozen=True)
class System:
    """What decides over package names: the system, its kernels, and what its apt knows.

    `kernels` are the metapackages' names behind `linux-image-`; `candidates` are the versions that
    apt would install of the packages that tell which branches there are, `modules` the names of
    the packages with modules for these kernels; `linux` are the metapackages that are installed.
    """

    os: str
    version: str
    codename: str
    architecture: str
    kernels: tuple[str, ...] = ()
    candidates: Mapping[str, str] | None = None
    modules: tuple[str, ...] = ()
    linux: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """A driver."""

    source: str
    branch: str
    flavour: Flavour


@dataclass(frozen=True)
class Transaction:
    """What apt shall do for a driver.

    `packages` come and `without` go in one step, with each of `optional` that apt can have with
    them: an archive keeps little of what belongs to older kernels. `first` comes before: DKMS
    builds with it.
    """

    packages: tuple[str, ...]
    optional: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    first: Transaction | None = None


def available(system: System) -> Branches:
    """The branches that the distribution has, each with its flavours: apt's word, else the table.

    Names move: nvidia-headless-no-dkms-535-server only brings a 580 by now, and is no candidate.
    """
    candidates = system.candidates or {}
    found: Branches = {}
    for name, version in sorted(candidates.items()):
        match = HEADLESS.fullmatch(name)
        if match and branch_of(version) == match[1] and int(match[1]) > LEGACY:
            found.setdefault(match[1], []).append("open" if match[2] else "proprietary")
    if "nvidia-kernel-dkms" in candidates:
        version = candidates["nvidia-kernel-dkms"]
        # The modules belong to the libraries of their own version alone.
        fits = upstream(candidates.get("nvidia-open-kernel-dkms", "")) == upstream(version)
        found[branch_of(version)] = BOTH if fits else ["proprietary"]
    return found or ARCHIVES.get(system.codename, {})


def branch_of(version: str) -> str:
    """The branch of a package's version."""
    return (version.partition(":")[2] or version).partition(".")[0]


def upstream(version: str) -> str:
    """A package's version without its epoch and its revision."""
    return (version.partition(":")[2] or version).rpartition("-")[0]


def choose(
    branch: str, flavour: Flavour | None, source: str | None, system: System, evidence: Evidence
) -> Choice:
    """The driver that a box gets.

    Args:
        branch: as declared.
        flavour: as declared; `None` takes what the GPUs need: the open one where both drive them,
            the proprietary one of Debian's.
        source: as declared; `None` is the distribution.
        system: what decides over names.
        evidence: the box's GPUs.

    Raises:
        Unavailable: there is none of that kind, or it does not drive the GPUs.
    """
    source = source or "distribution"
    has = offered(branch, source, system)
    drives = driving(branch, evidence)
    if source == "distribution" and system.os == "debian":
        # The open one of Debian 12 and 13 does not build for their kernels of today.
        drives = sorted(drives, key=BOTH.index, reverse=True)
    fitting = [one for one in drives if one in has and flavour in (None, one)]
    if fitting:
        return Choice(source, branch, fitting[0])
    if flavour and flavour not in drives:
        raise Unavailable(
            f"the {flavour} module does not drive {named(evidence)}: leave Gpu.flavour out, or say "
            f"{drives[0]!r}"
        )
    where = "the CUDA repository" if source == "cuda" else f"{system.codename}'s archive"
    raise Unavailable(
        f"{where} has branch {branch} as {' and '.join(has)} module alone, and {named(evidence)} "
        f"needs the {flavour or drives[0]} one: choose another Gpu.branch, or Gpu(source='cuda')"
    )


def offered(branch: str, source: str, system: System) -> list[Flavour]:
    """The flavours that a source has of a branch.

    Raises:
        Unavailable: it does not have the branch.
    """
    if source == "cuda":
        return BOTH if int(branch) < WITHOUT_PROPRIETARY else ["open"]
    branches = available(system)
    if branch not in branches:
        what = f"branch {branch}"
        raise Unavailable(
            f"{system.codename or 'this system'}'s archive does not have {what}: it has "
            f"{', '.join(sorted(branches)) or 'none'}; or take {what} from NVIDIA's repository, "
            "Gpu(source='cuda')"
        )
    return branches[branch]


def driving(branch: str, evidence: Evidence) -> list[Flavour]:
    """The flavours that drive every GPU of a box that some driver does, the recommended one first.

    Raises:
        Unavailable: none does, or the branch has left some GPU behind.
    """
    ids = [device["id"] for device in drivable(evidence)]
    if not ids:
        raise Unavailable(f"no driver of today drives GPUs before Maxwell, as {named(evidence)}")
    common = [one for one in BOTH if all(one in flavours(device) for device in ids)]
    if not common:
        raise Unavailable(f"no flavour of the driver drives all of {named(evidence)}")
    if any("open" not in flavours(device) for device in ids) and int(branch) > LAST_FOR_OLD:
        raise Unavailable(
            f"branch {branch} does not drive GPUs before Turing, as {named(evidence)}: "
            f"{LAST_FOR_OLD} is the last that does"
        )
    return common


def drivable(evidence: Evidence) -> list[PciFunction]:
    """The GPUs but those that nothing drives: beside others, an old one serves a display."""
    return [device for device in gpus(evidence) if flavours(device["id"])]


def named(evidence: Evidence) -> str:
    """The GPUs that a driver is for, by address and PCI id."""
    devices = drivable(evidence) or gpus(evidence)
    return ", ".join(f"{device['address']} ({device['id']})" for device in devices)


def transaction(choice: Choice, system: System, evidence: Evidence) -> Transaction:
    """What apt shall do for a driver.

    Raises:
        Unavailable: the archive has no modules for the box's kind of kernel.
    """
    if choice.source == "distribution" and system.os == "ubuntu":
        return prebuilt(choice, system, evidence)
    if choice.source == "distribution":
        module = "nvidia-open-kernel-dkms" if choice.flavour == "open" else "nvidia-kernel-dkms"
        wanted = Transaction((module, "nvidia-smi", "libcuda1"), ("nvidia-persistenced",))
    else:
        wanted = cuda_packages(choice, system.os)
    kernels = [name for name in held_with(system, system.linux) if name not in headers(system)]
    # With the headers of the kernel that runs, its module is built at once; new headers come with
    # their kernel.
    optional = (f"linux-headers-{running(evidence)}", *kernels)
    first = Transaction(headers(system), optional)
    other = [name for name in others(evidence, DKMS) if name not in wanted.packages]
    return replace(wanted, without=tuple(other), first=first)


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
        # With that of the kernel that runs, no reboot is needed; a kernel that these bring comes
        # with all of its own modules, and its headers.
        optional=(
            f"linux-modules-nvidia-{module}-{running(evidence)}",
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
