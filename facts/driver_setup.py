"""What the deploy compares its declared GPU driver with, beside the driver's own state."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from facts.preflight import parse_os_release, parse_pairs, split_sections
from jupyterbox.program import PROGRAMS

BLACKLIST = "/etc/modprobe.d/jupyterbox-nvidia.conf"
CUDA_KEYRING = "/etc/apt/keyrings/jupyterbox-cuda.asc"
CUDA_SOURCES = "/etc/apt/sources.list.d/jupyterbox-cuda.sources"
GUARD = "/etc/apt/apt.conf.d/52jupyterbox-nvidia"
PERSISTENCE = "/etc/systemd/system/nvidia-persistenced.service.d/jupyterbox.conf"
PINS = "/etc/apt/preferences.d/jupyterbox-nvidia"
UVM = "/etc/modules-load.d/nvidia-uvm.conf"
UVM_NODE = "/etc/udev/rules.d/70-jupyterbox-nvidia-uvm.rules"
FILES = (BLACKLIST, CUDA_KEYRING, CUDA_SOURCES, GUARD, PERSISTENCE, PINS, UVM, UVM_NODE)
"""The files that the GPU's layer writes."""


class Archive(TypedDict):
    """A component of a suite that apt fetches from, and the file that says so."""

    suite: str
    component: str
    file: str


class Persistenced(TypedDict):
    """NVIDIA's daemon: what its package starts, what runs, and whether it starts at boot."""

    command: str | None
    runs: str | None
    wanted: bool


class Setup(TypedDict):
    """A box as the GPU's layer finds it.

    `linux` are the installed metapackages that bring kernels, and whether each is held; `modules`
    the packages with prebuilt modules for such kernels, `candidates` the versions that apt would
    install; `headers` says whether apt has those of the kernel that runs; `files` are those of
    ours, by path, each with its sha256; `stale` the images of /boot that do not know the blacklist
    yet.
    """

    os: str
    version: str
    codename: str
    architecture: str
    linux: dict[str, bool]
    modules: list[str]
    candidates: dict[str, str]
    headers: bool
    archives: list[Archive]
    files: dict[str, str]
    stale: list[str]
    persistenced: Persistenced


class DriverSetup(FactBase[Setup]):
    """What packages, files and units of a GPU driver there are, and what apt has.

    ```
    {
        "os": "ubuntu", "version": "24.04", "codename": "noble", "architecture": "amd64",
        "linux": {"linux-generic": False, "linux-image-generic": True, …},
        "modules": ["linux-modules-nvidia-580-server-open-generic", …],
        "candidates": {"nvidia-headless-no-dkms-580-server": "580.178.04-0ubuntu0.24.04.1", …},
        "headers": True,
        "archives": [{"suite": "noble", "component": "main",
                      "file": "/etc/apt/sources.list.d/ubuntu.sources"}, …],
        "files": {"/etc/modules-load.d/nvidia-uvm.conf": "5f1d…"}, "stale": [],
        "persistenced": {
            "command": "/usr/bin/nvidia-persistenced --user nvidia-persistenced …",
            "runs": None, "wanted": False,
        },
    }
    ```
    """

    def command(self) -> str:
        text = (PROGRAMS / "driver_setup.sh").read_text()
        return text.replace("{files}", " ".join(FILES)).replace("{blacklist}", BLACKLIST)

    @staticmethod
    def default() -> Setup:
        return _setup({})

    def process(self, output: list[str]) -> Setup:
        sections = split_sections(output)
        if "os" not in sections or "end" not in sections:
            raise FactProcessError(f"not an answer: {output[:1]!r}")
        return _setup(sections)


def _setup(sections: dict[str, list[str]]) -> Setup:
    """What the sections of an answer amount to."""
    release = parse_os_release(sections.get("os", []))
    linux = [line.split() for line in sections.get("linux", [])]
    files = [line.split() for line in sections.get("files", [])]
    return {
        "os": release.get("ID", ""),
        "version": release.get("VERSION_ID", ""),
        "codename": release.get("VERSION_CODENAME", ""),
        "architecture": "".join(sections.get("architecture", [])[:1]).strip(),
        "linux": {found[1]: found[0] == "hi" for found in linux if len(found) == 2},
        "modules": [line.strip() for line in sections.get("modules", [])],
        "candidates": parse_pairs(sections.get("candidates", [])),
        "headers": bool(sections.get("headers")),
        "archives": list(_archives(sections.get("archives", []))),
        "files": {found[1]: found[0] for found in files if len(found) == 2},
        "stale": [line.strip() for line in sections.get("initramfs", [])],
        "persistenced": _persistenced(sections.get("persistenced", [])),
    }


def _archives(lines: list[str]) -> Iterator[Archive]:
    for line in lines:
        fields = line.split(" ", 2)
        if len(fields) == 3:
            # Behind the file's name is the number of the entry in it.
            file = fields[2].rpartition(":")[0]
            yield {"suite": fields[0], "component": fields[1], "file": file}


def _persistenced(lines: list[str]) -> Persistenced:
    said = dict(line.partition("=")[::2] for line in lines)
    return {
        "command": said.get("exec", "").strip() or None,
        "runs": said.get("runs", "").strip() or None,
        "wanted": said.get("wanted") == "yes",
    }
