"""Which driver a box gets: the branches and flavours that a source has, and what its GPUs take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jupyterbox.driver_states import Evidence, PciFunction, gpus
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

WITHOUT_PROPRIETARY = 610
"""From here on the packages of the proprietary flavour bring the open one."""

HEADLESS = re.compile(r"nvidia-headless-no-dkms-([0-9]{3})-server(-open)?")


class Unavailable(Exception):
    """Why a driver cannot be had, and what can: one sentence."""


@dataclass(frozen=True)
class System:
    """What decides over package names: the system, its kernels, and what its apt knows.

    `kernels` are the metapackages' names behind `linux-image-`; `candidates` are the versions in
    the distribution's archive of the packages that tell which branches there are, `modules` those
    of the packages with modules for these kernels, `cuda` those of the driver in NVIDIA's
    repository, as far as apt has it; `linux` are the metapackages that are installed, `headers` the
    kernels that lack theirs.
    """

    os: str
    version: str
    codename: str
    architecture: str
    kernels: tuple[str, ...] = ()
    candidates: Mapping[str, str] | None = None
    modules: Mapping[str, str] | None = None
    linux: tuple[str, ...] = ()
    cuda: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """A driver."""

    source: str
    branch: str
    flavour: Flavour


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
        of_cuda(branch, system.cuda)
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


def of_cuda(branch: str, versions: Iterable[str]) -> None:
    """Refuse a branch that NVIDIA's repository does not have; nobody may know what it has.

    Raises:
        Unavailable: it does not have the branch.
    """
    known = sorted({branch_of(version) for version in versions})
    if known and branch not in known:
        raise Unavailable(
            f"NVIDIA's repository for this system does not have branch {branch}: it has "
            f"{', '.join(known)}"
        )


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
