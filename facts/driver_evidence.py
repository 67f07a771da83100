"""Read what jupyterbox/remote/nvidia_driver.sh prints: what there is of NVIDIA's driver."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from typing_extensions import TypedDict

from facts.preflight import parse_os_release, parse_pairs
from jupyterbox.driver_packages import DKMS
from jupyterbox.driver_states import (
    Evidence,
    HalfWay,
    Kernel,
    Package,
    PciFunction,
    Repository,
    SigningKey,
    Unfinished,
    boots_well,
    breaks_at_boot,
    gpus,
    swapped,
)
from jupyterbox.nvidia import Flavour

Source = Literal["ubuntu", "debian", "cuda", "ppa", "runfile"]
Sections = dict[str, list[str]]

VERSION = re.compile(r"[0-9]{3}\.[0-9]+(?:\.[0-9]+)?")
PCI = re.compile(r"(\S+) 0x(03|06)[0-9a-f]* 0x([0-9a-f]{4}) config=(\S*) driver=(\S*)")
SERIAL = re.compile(r"(?:[0-9a-f]{2}:)+[0-9a-f]{2}")
LIBRARY = re.compile(r".*lib(nvidia-ml|cuda)\.so\.([0-9.]+)")
PREBUILT = re.compile(r"linux-(?:modules|objects|signatures)-nvidia-.*")
# Those that bring a new kernel, as linux-image-generic does; no kernel itself.
KERNELS = re.compile(r"linux-image-(?!unsigned-)[a-z].*")

SIGNER = "Canonical"
"""What the name of a module's signer starts with whom Secure Boot trusts without further ado."""


LICENSES: dict[str, Flavour] = {"NVIDIA": "proprietary", "Dual MIT/GPL": "open"}
VALIDATES_NOTHING = "validation is disabled in shim"
NOT_ENROLLED = ("is not enrolled", "in the enrollment request", "No such file")
HALF_WAY: dict[str, HalfWay] = {
    "H": "half-installed",
    "U": "unpacked",
    "F": "half-configured",
    "W": "triggers-awaited",
}
"""dpkg's states between installed and gone, by the letters that it lists them with."""


class Flags(TypedDict):
    """What else there is to say of a driver.

    `source` is where its packages are from; `next_boot_broken` says that the newest kernel has no
    module that fits, `reload_pending` that the module on disk is not the one that runs, in version
    or flavour; `held` is that neither `apt upgrade` nor unattended-upgrades can split what belongs
    together, `unguarded` that the latter is on and can. `persistence` is `None` where only the
    driver itself could tell: see `Gpus`. `uvm_missing` is what CUDA fails with in a notebook.
    """

    flavour: Flavour | None
    source: Source | None
    next_boot_broken: bool | None
    reload_pending: bool
    reboot_required: bool
    held: bool
    unguarded: bool
    persistence: bool | None
    uvm_missing: bool


def evidence_of(sections: Sections) -> Evidence:
    """What is there."""
    module = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in sections.get("module", []))
    }
    kernels = _kernels(sections)
    secure_boot = _secure_boot(sections.get("secureboot", []))
    return {
        "devices": [found for line in sections.get("pci", []) if (found := _device(line))],
        "loaded": _loaded(sections),
        "on_disk": next((found["module"] for found in kernels if found["running"]), None),
        "userspace": _userspace(sections.get("libraries", [])),
        "flavour": _flavour(sections.get("nvrm", [])) or LICENSES.get(module.get("license", "")),
        "flavour_on_disk": LICENSES.get(module.get("license", "")),
        "kernels": kernels,
        "file": module.get("filename") or None,
        "signer": module.get("signer") or None,
        "secure_boot": secure_boot,
        "trusted": _trusted(module, sections.get("enrolled", [])) if secure_boot else None,
        "dkms_key": _dkms_key(sections.get("dkmskey", []), secure_boot),
        "headers": bool(sections.get("headers")),
        "dkms": _has_dkms(name for _, name, _ in _installed(sections)),
        "packages": _packages(sections),
        "unfinished": list(_unfinished(sections)),
        "repositories": _repositories(sections.get("repositories", [])),
    }


def driver_version(lines: Iterable[str]) -> str | None:
    """The first line that is a driver's version."""
    return next((line.strip() for line in lines if VERSION.fullmatch(line.strip())), None)


def _loaded(sections: Sections) -> str | None:
    """The version of the module that runs; what it says of itself may say more around it."""
    said = re.search(
        r"Kernel Module.*?(?<!\S)([0-9]{3}\.[0-9.]+)", " ".join(sections.get("nvrm", []))
    )
    return driver_version([*sections.get("loaded", []), said[1] if said else ""])


def _device(line: str) -> PciFunction | None:
    """One line of what is on the PCI bus; what has fallen off it reads as nothing but ones."""
    match = PCI.fullmatch(line.strip())
    if not match:
        return None
    address, kind, device, config, driver = match.groups()
    return {
        "address": address,
        "id": f"10de:{device}",
        "kind": "gpu" if kind == "03" else "nvswitch",
        "driver": driver or None,
        "answers": config != "ffff",
    }


def _kernels(sections: Sections) -> list[Kernel]:
    """The kernels that can boot and the one that runs, in the order of their versions."""
    modules = parse_pairs(sections.get("modules", []))
    boot = sorted((line.strip() for line in sections.get("boot", [])), key=_rank)
    running = "".join(sections.get("running", [])[:1]).strip()
    return [
        {
            "release": release,
            "running": release == running,
            "next": release in boot[-1:],
            "module": driver_version([modules.get(release, "")]),
        }
        for release in sorted({*boot, running} - {""}, key=_rank)
    ]


def _rank(release: str) -> list[tuple[int, str]]:
    """What kernels are sorted by: numbers in their names as numbers."""
    return [
        (int(part), "") if part[0] in "0123456789" else (-1, part)
        for part in re.findall(r"[0-9]{1,18}|[^0-9]+", release)
    ]


def _userspace(libraries: Iterable[str]) -> str | None:
    """The version of the libraries: NVML's before CUDA's, of which there are newer ones on top."""
    found = [match.groups() for line in libraries if (match := LIBRARY.fullmatch(line.strip()))]
    ordered = sorted(found, key=lambda library: library[0] != "nvidia-ml")
    return driver_version(version for _, version in ordered)


def _flavour(nvrm: list[str]) -> Flavour | None:
    """The flavour of the module that runs."""
    said = "\n".join(nvrm)
    if "Kernel Module" in said:
        return "open" if "Open Kernel Module" in said else "proprietary"
    return None


def _secure_boot(lines: list[str]) -> bool | None:
    """Whether Secure Boot is on, by mokutil or by the firmware; `None` on a box without UEFI.

    Where shim was told to validate nothing, the kernel refuses nothing, either.
    """
    if any(VALIDATES_NOTHING in line for line in lines):
        return False
    said = {"SecureBoot enabled": True, "SecureBoot disabled": False, "1": True, "0": False}
    return next((said[line.strip()] for line in lines if line.strip() in said), None)


def _trusted(module: dict[str, str], enrolled: list[str]) -> bool | None:
    """Whether the kernel takes a module under Secure Boot, by what mokutil lists."""
    signer = module.get("signer")
    if not module or signer == "":
        # A modinfo that cannot read signatures names nobody.
        return None
    if signer is None or signer.startswith(SIGNER):
        return signer is not None
    serials = SERIAL.findall("\n".join(enrolled).lower())
    return module.get("sig_key", "").lower() in serials if enrolled else None


def _dkms_key(lines: list[str], secure_boot: bool | None) -> SigningKey:
    """The key that DKMS signs with; one that is not there yet is not enrolled."""
    certificate, said = "".join(lines[:1]).strip(), "\n".join(lines[1:])
    enrolled = None
    if secure_boot and "is already enrolled" in said:
        enrolled = True
    elif secure_boot and any(no in said for no in NOT_ENROLLED):
        enrolled = False
    return {"certificate": certificate, "enrolled": enrolled}


def _installed(sections: Sections) -> Iterator[tuple[str, str, str]]:
    """The packages that are installed: dpkg's abbreviation for their state, name, version."""
    for line in sections.get("packages", []):
        fields = line.split()
        if len(fields) >= 3 and fields[0] in ("ii", "hi"):
            yield fields[0], _own(fields[1]), fields[2]


def _own(name: str) -> str:
    """A package's name as apt takes it: those of the box's own architecture go without it."""
    return re.sub(":(amd64|arm64)$", "", name)


def _unfinished(sections: Sections) -> Iterator[Unfinished]:
    """The packages of driver and kernels that dpkg has left half way."""
    for line in sections.get("packages", []):
        fields = line.split()
        state = HALF_WAY.get(fields[0][1:2]) if len(fields) >= 3 else None
        if state and fields[1] != "unattended-upgrades":
            yield {"name": _own(fields[1]), "version": fields[2], "state": state}


def _packages(sections: Sections) -> list[Package]:
    """The packages of which any alone must not change: driver, modules, kernels."""
    versions = {_loaded(sections), _userspace(sections.get("libraries", []))}
    versions |= {driver_version([line.partition("=")[2]]) for line in sections.get("modules", [])}
    return [
        {"name": name, "version": version, "held": state == "hi"}
        for state, name, version in _installed(sections)
        if _upstream(version) in versions or PREBUILT.fullmatch(name) or KERNELS.fullmatch(name)
        if name != "nvidia-settings"
    ]


def _upstream(version: str) -> str:
    """A package's version without its epoch and its revision."""
    return (version.partition(":")[2] or version).rpartition("-")[0]


def _has_dkms(names: Iterable[str]) -> bool:
    """Whether among some packages is one whose modules of the driver DKMS builds."""
    return any(DKMS.fullmatch(name) for name in names)


def _repositories(lines: Iterable[str]) -> list[Repository]:
    """The files of apt's that name one of the archives that matter."""
    found: list[Repository] = []
    for line in lines:
        archive, _, file = line.strip().partition("=")
        if file and archive == "cuda":
            found.append({"archive": "cuda", "file": file})
        elif file and archive == "ppa":
            found.append({"archive": "ppa", "file": file})
    return found


def flags_of(sections: Sections, evidence: Evidence) -> Flags:
    """What else there is to say."""
    loaded, on_disk, fits = evidence["loaded"], evidence["on_disk"], boots_well(evidence)
    packages = together(evidence["packages"])
    return {
        "flavour": evidence["flavour"],
        "source": _source(sections, evidence),
        # Libraries may be left on a box without a GPU, and nobody misses a module there.
        "next_boot_broken": None
        if fits is None or not gpus(evidence)
        else not fits or breaks_at_boot(evidence),
        "reload_pending": bool(loaded and on_disk and loaded != on_disk) or swapped(evidence),
        "reboot_required": bool(sections.get("reboot")),
        "held": bool(packages) and all(package["held"] for package in packages),
        "unguarded": _unguarded(sections, packages),
        "persistence": _persistence(sections.get("persistenced", [])) if loaded else None,
        "uvm_missing": bool(loaded) and not sections.get("uvm"),
    }


def _source(sections: Sections, evidence: Evidence) -> Source | None:
    """Where the driver was installed from: its packages' versions tell, and apt's archives."""
    if sections.get("runfile"):
        return "runfile"
    drivers = [p["version"] for p in evidence["packages"] if not KERNELS.fullmatch(p["name"])]
    if not drivers:
        return None
    if any("~gpu" in version for version in drivers):
        return "ppa"
    if any("ubuntu0." in version for version in drivers):
        return "ubuntu"
    if any(re.search("~(deb|bpo)[0-9]", version) for version in drivers):
        return "debian"
    if any(repository["archive"] == "cuda" for repository in evidence["repositories"]):
        return "cuda"
    sources: dict[str, Source] = {"ubuntu": "ubuntu", "debian": "debian"}
    return sources.get(parse_os_release(sections.get("os", [])).get("ID", ""))


def together(packages: list[Package]) -> list[Package]:
    """Those that only all at once may move.

    Modules from the archive are made for one kernel each, so what brings kernels is one of them;
    DKMS builds the module for a new kernel itself.
    """
    drivers = [package for package in packages if not KERNELS.fullmatch(package["name"])]
    return packages if any(PREBUILT.fullmatch(p["name"]) for p in drivers) else drivers


def _unguarded(sections: Sections, packages: list[Package]) -> bool:
    """Whether unattended-upgrades is on and may move some of what belongs together."""
    settings = [re.fullmatch(r'(\S+) "(.*)";', line) for line in sections.get("upgrades", [])]
    said = [(match[1], match[2]) for match in settings if match]
    periodic = dict(said)
    on = periodic.get("APT::Periodic::Unattended-Upgrade", "0") not in ("", "0")
    enabled = periodic.get("APT::Periodic::Enable", "1") != "0"
    there = any(name == "unattended-upgrades" for _, name, _ in _installed(sections))
    blacklist = [v for key, v in said if key == "Unattended-Upgrade::Package-Blacklist::"]
    free = [p for p in packages if not p["held"] and not _matches(p["name"], blacklist)]
    return on and enabled and there and bool(free)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether unattended-upgrades leaves a package alone: it matches from the name's start."""
    for pattern in patterns:
        try:
            if re.match(pattern, name):
                return True
        except (re.error, OverflowError, RecursionError):
            continue
    return False


def _persistence(lines: list[str]) -> bool | None:
    """Whether the daemon keeps GPUs initialized; Ubuntu's runs and is told not to."""
    if "ActiveState=active" not in lines:
        return None
    return not any("--no-persistence-mode" in line for line in lines)
