"""What boxes with GPUs say to the operations of the driver, made of what a test is about.

The names and versions of packages are those of the archives: tests/recorded/gpu has what apt said
of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from tests.unit.engine import programs, recorded
from tests.unit.nvidia_box import NVRM

DRIVER = "What files tell of NVIDIA's driver"
SETUP = "What the GPU's layer of the deploy"
LICENSES = {"open": "Dual MIT/GPL", "proprietary": "NVIDIA"}

GTX_1070, RTX_3060, RTX_5090 = "1b81", "2504", "2b85"
KERNELS = {
    "jammy": "5.15.0-204-generic",
    "noble": "6.8.0-151-generic",
    "resolute": "7.0.0-44-generic",
    "bookworm": "6.1.0-56-amd64",
    "trixie": "6.12.117+deb13-amd64",
}
DAEMON = "/usr/bin/nvidia-persistenced --user nvidia-persistenced --no-persistence-mode --verbose"


def os_release(release: str) -> str:
    """What a bare box of a release says that it is."""
    site = recorded(f"packages/site-{release}")
    return site.partition("@@os\n")[2].partition("@@")[0]


def text(sections: Mapping[str, str | Iterable[str]]) -> str:
    """Sections as a command prints them."""
    shown = {
        name: lines if isinstance(lines, str) else "\n".join(lines)
        for name, lines in sections.items()
    }
    return "".join(f"\n@@{name}\n{lines.strip()}\n" for name, lines in shown.items())


def driver(
    release: str = "noble",
    gpus: Iterable[tuple[str, str]] = ((RTX_3060, ""),),
    loaded: str = "",
    modules: Mapping[str, str] | None = None,
    libraries: str = "",
    flavour: str = "open",
    packages: Iterable[str] = (),
    repositories: Iterable[str] = (),
    **more: str,
) -> dict[Any, Any]:
    """What the driver's fact finds; `gpus` are ids with the modules that they are bound to.

    `modules` are versions by kernels; without one, the release's has none.
    """
    kernel = KERNELS[release]
    on_disk = {kernel: "", **(modules or {})}
    libs = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so"
    sections: dict[str, str | Iterable[str]] = {
        "os": os_release(release),
        "running": kernel,
        "boot": on_disk,
        "modules": (f"{name}={version}" for name, version in on_disk.items()),
        "module": f"license:  {LICENSES[flavour]}" if any(on_disk.values()) else "",
        "headers": "",
        "pci": (
            f"0000:{7 + slot:02x}:00.0 0x030000 0x{device} config=de10 driver={bound}"
            for slot, (device, bound) in enumerate(gpus)
        ),
        "loaded": loaded,
        "nvrm": NVRM[flavour].format(version=loaded) if loaded else "",
        "uvm": "yes" if loaded else "",
        "libraries": f"{libs}.{libraries}" if libraries else "",
        "packages": packages,
        "runfile": "",
        "repositories": repositories,
        "upgrades": "",
        "secureboot": "",
        "dkmskey": "/var/lib/dkms/mok.pub",
        "reboot": "",
        "persistenced": "",
        "end": "",
        **more,
    }
    return {DRIVER: text(sections)}


def asked_of_apt(release: str) -> dict[str, str]:
    """What apt said of a release's archives, by the fact's questions."""
    parts = recorded(f"gpu/archive-{release}").removeprefix("@@").split("\n@@")
    return {name: lines.strip() for name, _, lines in (part.partition("\n") for part in parts)}


def setup(
    release: str = "noble",
    kernels: Iterable[str] | None = None,
    files: Mapping[str, str] | None = None,
    held: bool = False,
    **more: str,
) -> dict[Any, Any]:
    """What the fact about packages, files and units finds; `files` are those of ours."""
    debian = release in ("bookworm", "trixie")
    kinds = kernels or (["amd64"] if debian else ["generic"])
    state = "hi" if held else "ii"
    parts = ["image-", "headers-"] if debian else ["image-", "headers-", ""]
    sections: dict[str, str | Iterable[str]] = {
        "os": os_release(release),
        "architecture": "amd64",
        "linux": (f"{state}  linux-{part}{kind}" for kind in kinds for part in parts),
        **asked_of_apt(release),
        "headers": "",
        "files": (
            f"{hashlib.sha256(content.encode()).hexdigest()}  {path}"
            for path, content in (files or {}).items()
        ),
        "initramfs": "",
        "persistenced": f"exec={DAEMON}",
        "fabric": "LoadState=not-found",
        "end": "",
        **more,
    }
    return {SETUP: text(sections)}


def becoming(before: Mapping[Any, Any], command: str, after: Mapping[Any, Any]) -> dict[Any, Any]:
    """What a box says that says something else once it has run a command.

    + command: what is in the text of it, and of no fact's command
    """
    ran: list[bool] = []

    class Said(dict[str, Any]):
        def __init__(self, matcher: Any) -> None:
            super().__init__()
            self.matcher = matcher

        def get(self, key: str, default: Any = None) -> Any:
            if key != "stdout":
                return default
            return (after if ran else before).get(self.matcher, "")

    class Ran(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            ran.append(True)
            return default

    return {command: Ran(), **{matcher: Said(matcher) for matcher in {**before, **after}}}


def holders(*found: dict[str, Any], kernel: Iterable[str] = ()) -> dict[Any, Any]:
    """Who has the GPU open, and what of the kernel holds it."""
    return programs(device_holders={"processes": list(found), "kernel": list(kernel)})


def works(
    version: str = "580.178.04", release: str = "noble", held: bool = False, **more: Any
) -> dict[Any, Any]:
    """What the driver's fact finds where it is in order, installed as the operation does."""
    kernel, state = KERNELS[release], "hi" if held else "ii"
    branch = version.partition(".")[0]
    rows = [
        f"{state} linux-modules-nvidia-{branch}-server-open-generic 6.8.0-151.151",
        f"{state} linux-modules-nvidia-{branch}-server-open-{kernel} 6.8.0-151.151",
        f"{state} nvidia-headless-no-dkms-{branch}-server-open {version}-0ubuntu0.24.04.1",
        f"{state} nvidia-utils-{branch}-server {version}-0ubuntu0.24.04.1",
        f"{state} linux-image-generic 6.8.0-151.151",
    ]
    found = {
        "gpus": [(RTX_3060, "nvidia")],
        "loaded": version,
        "modules": {kernel: version},
        "libraries": version,
        "packages": rows,
    }
    return driver(release, **{**found, **more})
