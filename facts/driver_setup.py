"""What the deploy compares its declared GPU driver with, beside the driver's own state."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from facts.preflight import parse_os_release, split_sections
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


HOST = re.compile(r"[a-z+]+:/+(?:[^/]+\.)?(debian\.org|ubuntu\.com)(?:[:/].*)?")
HOSTS = {"debian.org": "Debian", "ubuntu.com": "Ubuntu"}
"""Whose an archive is by its address, as long as apt has fetched nothing that says so."""

SUITES = ("", "-updates", "-security")
"""The distribution's that a box installs from; what is in others, nobody gets unasked."""


class Archive(TypedDict):
    """A component of a suite that apt fetches from, and the file and the entry that say so.

    `origin` is whose it is, by what the archive says of itself, which a mirror says as well; by its
    address where apt has not fetched it yet. Entries of `*.sources` are counted, others are lines.
    """

    suite: str
    component: str
    site: str
    origin: str
    file: str
    entry: int


class Persistenced(TypedDict):
    """NVIDIA's daemon: what its package starts, what runs, and whether it starts at boot."""

    command: str | None
    runs: str | None
    wanted: bool


class Fabric(TypedDict):
    """The daemon that NVSwitches need: whether it is installed, starts at boot, and runs."""

    there: bool
    wanted: bool
    runs: bool


class Setup(TypedDict):
    """A box as the GPU's layer finds it.

    `linux` are the installed metapackages that bring kernels, and whether each is held; `modules`
    the packages with prebuilt modules for such kernels, for the one that runs and for the one that
    boots next, `candidates` those that tell which branches there are: each with its version in the
    distribution's archive, whatever other archives and pins there are. `cuda` are the versions of
    the driver in NVIDIA's repository, where apt has it; `headers` the kernels, of the two, that
    have none, while apt has them. `files` are those of ours, by path, each with its sha256; `stale`
    the images of /boot that do not know the blacklist yet.
    """

    os: str
    version: str
    codename: str
    architecture: str
    linux: dict[str, bool]
    modules: dict[str, str]
    candidates: dict[str, str]
    cuda: list[str]
    headers: list[str]
    archives: list[Archive]
    files: dict[str, str]
    stale: list[str]
    persistenced: Persistenced
    fabric: Fabric


class DriverSetup(FactBase[Setup]):
    """What packages, files and units of a GPU driver there are, and what apt has.

    ```
    {
        "os": "ubuntu", "version": "24.04", "codename": "noble", "architecture": "amd64",
        "linux": {"linux-generic": False, "linux-image-generic": True, …},
        "modules": {"linux-modules-nvidia-580-server-open-generic": "6.8.0-151.151", …},
        "candidates": {"nvidia-headless-no-dkms-580-server": "580.178.04-0ubuntu0.24.04.1", …},
        "cuda": [], "headers": ["6.8.0-151-generic"],
        "archives": [{"suite": "noble", "component": "main", "origin": "Ubuntu",
                      "site": "http://archive.ubuntu.com/ubuntu",
                      "file": "/etc/apt/sources.list.d/ubuntu.sources", "entry": 1}, …],
        "files": {"/etc/modules-load.d/nvidia-uvm.conf": "5f1d…"}, "stale": [],
        "persistenced": {
            "command": "/usr/bin/nvidia-persistenced --user nvidia-persistenced …",
            "runs": None, "wanted": False,
        },
        "fabric": {"there": False, "wanted": False, "runs": False},
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
    archives = list(_archives(sections))
    whole = {tuple(line.split()) for line in sections.get("whole", [])}
    own = {(a["site"], a["suite"]) for a in distribution(archives, release)}
    candidates = _versions(sections.get("candidates", []), own)
    nvidia = {a["site"] for a in archives if a["origin"] == "NVIDIA"}
    cuda = [found for line in sections.get("cuda", []) if len(found := line.split()) > 2]
    return {
        "os": release.get("ID", ""),
        "version": release.get("VERSION_ID", ""),
        "codename": release.get("VERSION_CODENAME", ""),
        "architecture": "".join(sections.get("architecture", [])[:1]).strip(),
        "linux": {found[1]: found[0] == "hi" for found in linux if len(found) == 2},
        "modules": _versions(sections.get("modules", []), own),
        "candidates": {name: v for name, v in candidates.items() if (name, v) in whole},
        "cuda": sorted({found[1] for found in cuda if found[2] in nvidia}),
        "headers": [line.strip() for line in sections.get("headers", [])],
        "archives": archives,
        "files": {found[1]: found[0] for found in files if len(found) == 2},
        "stale": [line.strip() for line in sections.get("initramfs", [])],
        "persistenced": _persistenced(sections.get("persistenced", [])),
        "fabric": _fabric(sections.get("fabric", [])),
    }


def _versions(lines: Iterable[str], own: set[tuple[str, str]]) -> dict[str, str]:
    """The highest version of each package that the distribution's archive has."""
    found: dict[str, str] = {}
    for line in lines:
        fields = line.split()
        if len(fields) == 4 and (fields[2], fields[3]) in own:
            found.setdefault(fields[0], fields[1])
    return found


def distribution(archives: Iterable[Archive], release: Mapping[str, str]) -> Iterator[Archive]:
    """The distribution's own archives, in the suites of a release.

    + release: as /etc/os-release has it
    """
    origin = release.get("ID", "").capitalize()
    suites = {release.get("VERSION_CODENAME", "") + suite for suite in SUITES}
    return (a for a in archives if a["origin"] == origin and a["suite"] in suites)


def _archives(sections: dict[str, list[str]]) -> Iterator[Archive]:
    """What apt fetches from, each with whose it is."""
    origins = dict(_origins(sections.get("origins", [])))
    for line in sections.get("archives", []):
        fields = line.split(" ", 4)
        file, _, entry = fields[-1].rpartition(":")
        if len(fields) == 5 and re.fullmatch("[0-9]{1,9}", entry):
            site, index, suite, component, _ = fields
            host = HOST.fullmatch(site)
            said = next((o for of, o in origins.items() if index.startswith(of)), None)
            origin = said or (HOSTS[host[1]] if host else "")
            yield {
                "suite": suite,
                "component": component,
                "site": site,
                "origin": origin,
                "file": file,
                "entry": int(entry),
            }


def _origins(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What the names of an archive's files start with, and whose it is."""
    for line in lines:
        file, _, origin = line.partition(":Origin:")
        yield re.sub("(In)?Release$", "", file), origin.strip()


def _persistenced(lines: list[str]) -> Persistenced:
    said = dict(line.partition("=")[::2] for line in lines)
    return {
        "command": said.get("exec", "").strip() or None,
        "runs": said.get("runs", "").strip() or None,
        "wanted": said.get("wanted") == "yes",
    }


def _fabric(lines: list[str]) -> Fabric:
    said = dict(line.partition("=")[::2] for line in lines)
    return {
        "there": said.get("LoadState") == "loaded",
        "wanted": said.get("UnitFileState") == "enabled",
        "runs": said.get("ActiveState") == "active",
    }
