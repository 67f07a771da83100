"""What state NVIDIA's driver is in, told from what files say: one rule a state, the first counts.

The order matters: versions are compared before anybody asks the driver itself, since asking a
driver whose module and library differ tells nothing, and asking one that is not loaded loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from typing_extensions import TypedDict

from jupyterbox.nvidia import Flavour, flavours

State = Literal[
    "no_hardware",
    "passthrough",
    "bus_lost",
    "no_driver",
    "foreign_driver",
    "module_missing",
    "not_loaded",
    "mismatch",
    "init_failed",
    "healthy",
]

HalfWay = Literal["half-installed", "unpacked", "half-configured", "triggers-awaited"]

PASSTHROUGH = {"vfio-pci", "pci-stub", "nvgrace-gpu-vfio-pci", "pciback"}
"""Drivers that keep a device for virtual machines."""

FOREIGN = {"nouveau": "nouveau", "nova_core": "nova_core", "NovaCore": "nova_core"}
"""Drivers that are not NVIDIA's, and the modules that they are in."""


class PciFunction(TypedDict):
    """A GPU, or a switch between GPUs; `id` as `10de:2504`.

    `driver` is what it is bound to; one that does not answer has fallen off the bus.
    """

    address: str
    id: str
    kind: Literal["gpu", "nvswitch"]
    driver: str | None
    answers: bool


class Kernel(TypedDict):
    """An installed kernel, and which version of the driver's module is there for it.

    `next` is the newest: it runs after a reboot.
    """

    release: str
    running: bool
    next: bool
    module: str | None


class Package(TypedDict):
    """An installed package of the driver's, of its modules', or one that brings new kernels."""

    name: str
    version: str
    held: bool


class Unfinished(TypedDict):
    """A package that dpkg has begun to install or to remove, and how far that went."""

    name: str
    version: str
    state: HalfWay


class SigningKey(TypedDict):
    """The certificate of the key that DKMS signs modules with, and whether Secure Boot trusts it.

    `enrolled` is `None` where Secure Boot is off, or nobody can tell.
    """

    certificate: str
    enrolled: bool | None


class Repository(TypedDict):
    """A file of apt's that names NVIDIA's CUDA repository, or the PPA graphics-drivers."""

    archive: Literal["cuda", "ppa"]
    file: str


class Evidence(TypedDict):
    """What is there, as files tell it.

    `loaded` is the version of the module that runs, `on_disk` that of the one that would be loaded
    into the running kernel, `userspace` that of the libraries. `flavour` is that of the module that
    runs, or else of the one on disk, which is `flavour_on_disk`. `file` and `signer` are the
    module's on disk; `trusted` says whether Secure Boot lets the kernel load that, `None` where it
    is off, or nobody can tell. `headers` says whether DKMS could build one, `dkms` whether it is
    installed. `packages` are the installed ones, `unfinished` those that are neither that nor gone.
    """

    devices: list[PciFunction]
    loaded: str | None
    on_disk: str | None
    userspace: str | None
    flavour: Flavour | None
    flavour_on_disk: Flavour | None
    kernels: list[Kernel]
    file: str | None
    signer: str | None
    secure_boot: bool | None
    trusted: bool | None
    dkms_key: SigningKey
    headers: bool
    dkms: bool
    packages: list[Package]
    unfinished: list[Unfinished]
    repositories: list[Repository]


def gpus(evidence: Evidence) -> list[PciFunction]:
    """The GPUs that are not kept for virtual machines."""
    return [
        device
        for device in evidence["devices"]
        if device["kind"] == "gpu" and device["driver"] not in PASSTHROUGH
    ]


def kernel(evidence: Evidence, which: Literal["running", "next"]) -> Kernel | None:
    """The kernel that runs, or the one that boots next; `None` where /boot has none."""
    return next((found for found in evidence["kernels"] if found[which]), None)


def boots_well(evidence: Evidence) -> bool | None:
    """Whether the kernel that boots next has the module of the libraries' version.

    `None` where there is nothing to compare: no libraries, or a container, without a kernel.
    """
    found = kernel(evidence, "next")
    if found is None or evidence["userspace"] is None:
        return None
    return found["module"] == evidence["userspace"]


@dataclass(frozen=True)
class Rule:
    """A state, with the kind of it, and how to tell that it is this one.

    `problem` and `cure` are sentences in which `told` fills the blanks; a state without a problem
    has an empty one.
    """

    state: State
    kind: str | None
    applies: Callable[[Evidence], bool]
    problem: str
    cure: str


@dataclass(frozen=True)
class Verdict:
    """The state that a driver is in, what is wrong with that, and what to do."""

    state: State
    kind: str | None
    problem: str
    cure: str


def verdict(evidence: Evidence) -> Verdict:
    """The first rule that applies; the last one always does."""
    rule = next(rule for rule in RULES if rule.applies(evidence))
    blanks = told(evidence)
    return Verdict(rule.state, rule.kind, rule.problem.format(**blanks), rule.cure.format(**blanks))


def told(evidence: Evidence) -> dict[str, str]:
    """What the sentences of the rules have blanks for."""
    mine = gpus(evidence)
    running, following = kernel(evidence, "running"), kernel(evidence, "next")
    other: Flavour = "proprietary" if evidence["flavour"] == "open" else "open"
    return {
        "gpus": listed(mine),
        "lost": listed(device for device in mine if not device["answers"]),
        "unbound": listed(device for device in mine if device["driver"] is None),
        "misfits": listed(device for device in mine if misfit(evidence, device)),
        "foreign": ", ".join(sorted({FOREIGN[str(d["driver"])] for d in mine if _foreigner(d)})),
        "loaded": str(evidence["loaded"]),
        "on_disk": str(evidence["on_disk"]),
        "userspace": str(evidence["userspace"]),
        "flavour": str(evidence["flavour"]),
        "other": other,
        "signer": evidence["signer"] or "nobody",
        "certificate": evidence["dkms_key"]["certificate"],
        "kernel": running["release"] if running else "",
        "next": following["release"] if following else "",
    }


def listed(devices: Iterable[PciFunction]) -> str:
    """GPUs as the start of a sentence."""
    addresses = [device["address"] for device in devices]
    return f"GPU{'s' if len(addresses) > 1 else ''} {', '.join(addresses)}"


def _any_gpu(evidence: Evidence) -> bool:
    return any(device["kind"] == "gpu" for device in evidence["devices"])


def _nothing(evidence: Evidence) -> bool:
    return not (evidence["loaded"] or evidence["on_disk"] or evidence["userspace"])


def _foreigner(device: PciFunction) -> bool:
    return device["driver"] in FOREIGN


def _driven_by(evidence: Evidence, module: str) -> bool:
    return any(FOREIGN.get(str(device["driver"])) == module for device in gpus(evidence))


def _foreign(evidence: Evidence) -> bool:
    drivers = {device["driver"] for device in gpus(evidence)}
    # An old one for a display beside those that compute is as somebody wants it.
    return bool(drivers & FOREIGN.keys()) and "nvidia" not in drivers


def _missing(evidence: Evidence) -> bool:
    return not evidence["loaded"] and not evidence["on_disk"]


def _prebuilt(evidence: Evidence) -> bool:
    return any(p["name"].startswith("linux-modules-nvidia-") for p in evidence["packages"])


def _not_loaded(evidence: Evidence) -> bool:
    return not evidence["loaded"]


def _split(evidence: Evidence) -> bool:
    """Whether the module that would be loaded is not that of the libraries."""
    return _not_loaded(evidence) and evidence["on_disk"] != evidence["userspace"]


def misfit(evidence: Evidence, device: PciFunction) -> bool:
    """Whether a GPU that nobody else drives needs the other flavour of the module."""
    flavour, drive = evidence["flavour"], flavours(device["id"])
    return not _foreigner(device) and flavour is not None and drive != [] and flavour not in drive


def _all_misfit(evidence: Evidence) -> bool:
    """Whether the module drives none of the GPUs that one could."""
    mine = [device for device in gpus(evidence) if flavours(device["id"])]
    return bool(mine) and all(misfit(evidence, device) for device in mine)


def drives_some(evidence: Evidence) -> bool:
    """Whether the module that runs has a GPU: what it does not drive beside that is no state."""
    return any(
        device["driver"] == "nvidia" and not misfit(evidence, device) for device in gpus(evidence)
    )


def swapped(evidence: Evidence) -> bool:
    """Whether the other flavour of the module that runs, in its version, is on disk."""
    runs, waits = evidence["flavour"], evidence["flavour_on_disk"]
    same = evidence["loaded"] is not None and evidence["loaded"] == evidence["on_disk"]
    return same and runs is not None and waits not in (None, runs)


def breaks_at_boot(evidence: Evidence) -> bool:
    """Whether the flavour that the next boot would load drives none of the GPUs."""
    return swapped(evidence) and _all_misfit(from_disk(evidence))


def from_disk(evidence: Evidence) -> Evidence:
    """As it would be with the module on disk."""
    return {**evidence, "flavour": evidence["flavour_on_disk"]}


def _none_driven(evidence: Evidence) -> bool:
    """Whether the module that runs drives no GPU, and is of the wrong flavour for one."""
    return not drives_some(evidence) and any(misfit(evidence, gpu) for gpu in gpus(evidence))


def _differ(evidence: Evidence) -> bool:
    return evidence["loaded"] != evidence["userspace"]


NEW_PROGRAMS = "Module {loaded} is loaded and the libraries are {userspace}: new programs fail."
SPLIT = "Module {on_disk} is not loaded, and the libraries are {userspace}: they do not fit."
NO_MODULE = "Driver {userspace} has no module for kernel {kernel}"
RELOAD = "Reload the module once nothing holds it, or reboot."
NOT_SEEN = "NVIDIA's driver is not installed: no kernel sees {gpus}"

RULES = (
    Rule(
        "no_hardware", None, lambda e: not _any_gpu(e), "", "Nothing to do: it has no NVIDIA GPU."
    ),
    Rule(
        "passthrough", None, lambda e: not gpus(e), "", "Nothing to do: virtual machines have it."
    ),
    Rule(
        "bus_lost",
        None,
        lambda e: not all(device["answers"] for device in gpus(e)),
        "{lost} fell off the bus.",
        "Reboot, or switch the box off and on: until then CUDA may fail on its other GPUs, too.",
    ),
    Rule(
        "no_driver",
        "nova_core",
        lambda e: _nothing(e) and _driven_by(e, "nova_core"),
        NOT_SEEN + ", nova_core drives it.",
        "Install the driver, with nova_core blacklisted, and reboot.",
    ),
    Rule(
        "no_driver",
        "nouveau",
        lambda e: _nothing(e) and _driven_by(e, "nouveau"),
        NOT_SEEN + ", nouveau drives it.",
        "Install the driver, with nouveau blacklisted, and reboot.",
    ),
    Rule("no_driver", None, _nothing, NOT_SEEN + ".", "Install the driver."),
    Rule(
        "foreign_driver",
        None,
        _foreign,
        "{foreign} drives {gpus}, which NVIDIA's driver cannot take from it.",
        "Blacklist {foreign} in /etc/modprobe.d, run `update-initramfs -u`, and reboot.",
    ),
    Rule(
        "module_missing",
        "reboot_cures",
        lambda e: _missing(e) and boots_well(e) is True,
        NO_MODULE + ", and has one for kernel {next}, which boots next.",
        "Reboot, into kernel {next}.",
    ),
    Rule(
        "module_missing",
        "other_kernel",
        lambda e: _missing(e) and _prebuilt(e),
        NO_MODULE + ": those that are installed are for others.",
        "Install the package linux-modules-nvidia-... of kernel {kernel}, and reboot.",
    ),
    Rule(
        "module_missing",
        "no_headers",
        lambda e: _missing(e) and e["dkms"] and not e["headers"],
        NO_MODULE + ": DKMS has no headers to build it with.",
        "Install linux-headers-{kernel}, or a kernel with its headers, and reboot.",
    ),
    Rule(
        "module_missing",
        "not_built",
        lambda e: _missing(e) and e["dkms"],
        NO_MODULE + ": DKMS has not built it.",
        "See why in /var/lib/dkms/nvidia*/*/build/make.log, mend it, and run `dkms autoinstall`.",
    ),
    Rule(
        "module_missing",
        "not_installed",
        _missing,
        NO_MODULE + ": no package with one is installed.",
        "Install the module of driver {userspace}, from where its libraries are.",
    ),
    Rule(
        "not_loaded",
        "wrong_flavour",
        lambda e: _not_loaded(e) and _all_misfit(e),
        "The {flavour} module is installed, and it takes the {other} one to drive {misfits}.",
        "Install the {other} flavour of the driver in its place, and reboot.",
    ),
    Rule(
        "no_driver",
        "no_libraries",
        lambda e: _not_loaded(e) and not e["userspace"],
        "Module {on_disk} is installed, and the driver's libraries are not.",
        "Install the libraries of driver {on_disk}, from where its module is.",
    ),
    Rule(
        "not_loaded",
        "reboot_cures",
        lambda e: _split(e) and boots_well(e) is True,
        SPLIT + " Kernel {next}, which boots next, has the one that fits.",
        "Reboot, into kernel {next}.",
    ),
    Rule(
        "not_loaded",
        "split",
        _split,
        SPLIT,
        "Install module {userspace} for kernel {kernel}; until then, do not load the one that is "
        "there: the libraries do not fit it.",
    ),
    Rule(
        "not_loaded",
        "secure_boot",
        lambda e: _not_loaded(e) and e["trusted"] is False,
        "Module {on_disk} is not loaded: Secure Boot refuses what {signer} has signed.",
        "Have Secure Boot trust DKMS's key: `mokutil --import {certificate}`, a reboot, and a yes "
        "at the console; Ubuntu's own modules need none.",
    ),
    Rule(
        "not_loaded",
        None,
        _not_loaded,
        "Module {on_disk} is installed and not loaded.",
        "Run `modprobe nvidia`, or reboot.",
    ),
    Rule(
        "no_driver",
        "no_libraries",
        lambda e: not e["userspace"],
        "Module {loaded} is loaded, and the driver's libraries are not installed.",
        "Install the libraries of driver {loaded}, from where its module is.",
    ),
    Rule(
        "mismatch",
        "reload_cures",
        lambda e: _differ(e) and e["on_disk"] == e["userspace"],
        NEW_PROGRAMS,
        RELOAD,
    ),
    Rule(
        "mismatch",
        "reboot_cures",
        lambda e: _differ(e) and boots_well(e) is True,
        NEW_PROGRAMS,
        "Reboot, into kernel {next}: the one that runs has no module to reload.",
    ),
    Rule(
        "mismatch",
        "neither_cures",
        _differ,
        NEW_PROGRAMS,
        "Install module {userspace} and remove the rest of {loaded}: a reboot alone is no cure.",
    ),
    Rule(
        "init_failed",
        "reload_cures",
        lambda e: _none_driven(e) and swapped(e) and not _all_misfit(from_disk(e)),
        "The {flavour} module is loaded, and the {other} one, which drives {misfits}, is on disk.",
        RELOAD,
    ),
    Rule(
        "init_failed",
        "wrong_flavour",
        _none_driven,
        "The {flavour} module is loaded, and it takes the {other} one to drive {misfits}.",
        "Install the {other} flavour of the driver in its place, and reboot.",
    ),
    Rule(
        "init_failed",
        "not_bound",
        lambda e: not drives_some(e) and any(device["driver"] is None for device in gpus(e)),
        "Module {loaded} is loaded and does not drive {unbound}.",
        "`sudo dmesg | grep NVRM` says why.",
    ),
    Rule(
        "healthy",
        "other_flavour",
        lambda e: swapped(e) and not breaks_at_boot(e),
        "The {flavour} module {loaded} runs, and the {other} one is on disk in its place.",
        RELOAD,
    ),
    Rule("healthy", None, lambda e: True, "", "Nothing to do: module and libraries agree."),
)
