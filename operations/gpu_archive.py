"""Where apt has the driver from: the distribution's components, NVIDIA's repository, the PPA."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from io import StringIO

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import FileUploadCommand, PyinfraCommand

from facts.driver_setup import (
    CUDA_KEYRING,
    CUDA_SOURCES,
    PINS,
    Archive,
    DriverSetup,
    Setup,
    distribution,
)
from facts.gpu import Driver, NvidiaDriver
from jupyterbox.driver_packages import CUDA_PACKAGES
from jupyterbox.program import Commands
from jupyterbox.settings import Mirrors
from operations.asking import ask
from operations.journal import noting

COMPONENTS = ("contrib", "non-free", "non-free-firmware")
"""Of Debian's: the driver, what it is loaded with, and its firmware."""

ARCHITECTURES = {"amd64": "x86_64", "arm64": "sbsa"}
"""NVIDIA's names for them."""

KEYS = {
    "8793F200.pub": "02182E60104FCDC26EAE1B8597A5D4CB8793F200",
    "3bf863cc.pub": "EB693B3035CD5710E231E123A4B469963BF863CC",
}
"""The keys of NVIDIA's repositories, by their names there, and their fingerprints; the newer first.

The older one signs those for systems from before Debian 13. github.com/NVIDIA/cuda-repo-management
issues 4 and 39; the newer one's fingerprint as people who fetched it have it.
"""

GNUPG = "command -v gpg >/dev/null || apt-get -y -qq -o DPkg::Lock::Timeout=300 install gpg curl"


@operation()
def declared(source: str | None, branch: str, mirrors: Mirrors) -> Commands:
    """Let apt have the driver from where it is declared, and from nowhere else.

    + source: `distribution` or `cuda`; by default the distribution
    + branch: the driver's
    + mirrors: where NVIDIA's repository is
    """
    found = ask(NvidiaDriver)
    if found["state"] in ("no_hardware", "passthrough"):
        host.noop(found["cure"])
        return
    setup = ask(DriverSetup)
    commands: list[str | PyinfraCommand] = []
    if source == "cuda":
        commands += cuda(found, setup, mirrors)
    elif setup["os"] == "debian":
        commands += enabled(setup)
    commands += written(PINS, pins(source, branch, found, setup), setup)
    yield from commands
    if not commands:
        host.noop("apt has the driver from where it shall")


def written(path: str, content: str, setup: Setup) -> Iterator[str | PyinfraCommand]:
    """Bring a file of ours to what it shall be; an empty one shall not be."""
    if setup["files"].get(path, "") == (sha256(content) if content else ""):
        return
    if not content:
        yield f"rm {path}"
        return
    yield f"mkdir -p {path.rpartition('/')[0]}"
    yield FileUploadCommand(StringIO(content), path)
    yield f"chmod 644 {path}"


def sha256(content: str) -> str:
    """What sha256sum says of a file with such a content."""
    return hashlib.sha256(content.encode()).hexdigest()


def enabled(setup: Setup) -> Iterator[str | PyinfraCommand]:
    """Add the components that Debian's own entries lack, where they stand.

    In a file of ours, an entry would have to name the same key as theirs: apt refuses two.
    """
    release = {"ID": setup["os"], "VERSION_CODENAME": setup["codename"]}
    own = list(distribution(setup["archives"], release))
    main = {(a["file"], a["entry"]) for a in own if a["component"] == "main"}
    for file, entry in sorted(main):
        missing = [part for part in COMPONENTS if lacks(part, file, entry, own)]
        if missing:
            yield noting("component", *(f"{part} in {file}" for part in missing))
            yield amended(file, entry, " ".join(missing))


def lacks(component: str, file: str, entry: int, archives: list[Archive]) -> bool:
    """Whether some suite that an entry names `main` of is without a component everywhere."""
    of_entry = {
        a["suite"]
        for a in archives
        if (a["file"], a["entry"], a["component"]) == (file, entry, "main")
    }
    return bool(of_entry - {a["suite"] for a in archives if a["component"] == component})


def amended(file: str, entry: int, components: str) -> str:
    """Add components to one entry of a file of apt's."""
    if not file.endswith(".sources"):
        return f"sed -E -i '{entry}s/ *(#.*)?$/ {components}/' {file}"
    # apt counts the paragraphs, but for those of comments alone.
    return (
        f"awk -v RS= -v ORS='\\n\\n' '/(^|\\n)[^#\\n]/ && ++n == {entry} "
        f'{{ sub(/(^|\\n)Components:[^\\n]*/, "& {components}") }} 1\' {file} >{file}.new && '
        f"chmod --reference={file} {file}.new && mv {file}.new {file}"
    )


def repository(setup: Setup, mirrors: Mirrors) -> str:
    """NVIDIA's repository for a box."""
    system = f"{setup['os']}{setup['version'].replace('.', '')}"
    return f"{mirrors.cuda}/{system}/{ARCHITECTURES.get(setup['architecture'], 'x86_64')}"


def cuda(found: Driver, setup: Setup, mirrors: Mirrors) -> Iterator[str | PyinfraCommand]:
    """NVIDIA's repository with its key; one that somebody else has set up stays as it is."""
    if any(file != CUDA_SOURCES for file in repositories(found)):
        return
    url = repository(setup, mirrors)
    if CUDA_KEYRING not in setup["files"]:
        yield GNUPG
        yield f"mkdir -p {CUDA_KEYRING.rpartition('/')[0]}"
        yield key(url)
    content = f"Types: deb\nURIs: {url}/\nSuites: /\nSigned-By: {CUDA_KEYRING}\n"
    yield from written(CUDA_SOURCES, content, setup)


def key(url: str) -> str:
    """Fetch the repository's key, and keep it if it is one of those that are known."""
    new, known = f"{CUDA_KEYRING}.new", "|".join(KEYS.values())
    fetched = " || ".join(f"curl -fsSL {url}/{name} -o {new}" for name in KEYS)
    shown = f"gpg --show-keys --with-colons {new}"
    return (
        f"{{ {fetched}; }} && {shown} | grep -qE '^fpr:.*:({known}):' && chmod 644 {new} && "
        f"mv {new} {CUDA_KEYRING} || {{ rm -f {new}; "
        f"echo 'no key of NVIDIA that is known here is in {url}.' >&2; exit 1; }}"
    )


def left(source: str | None, found: Driver, setup: Setup) -> Iterator[str]:
    """Take away the repository that an earlier deploy added, once the driver is not from there."""
    if source == "cuda" or CUDA_SOURCES not in setup["files"]:
        return
    files = [CUDA_SOURCES, CUDA_KEYRING]
    if not any(file != CUDA_SOURCES for file in repositories(found)):
        files.append(PINS)
    # The sources last: while they are there, the next run goes on with this.
    yield f"rm -f {' '.join(reversed(files))}"


def repositories(found: Driver) -> list[str]:
    """The files of apt's that name NVIDIA's repository."""
    return [r["file"] for r in found["evidence"]["repositories"] if r["archive"] == "cuda"]


def pins(source: str | None, branch: str, found: Driver, setup: Setup) -> str:
    """What keeps the driver in its branch, or NVIDIA's repository from replacing it."""
    if source == "cuda":
        pin, priority = f"version {branch}.*", 1001
    elif repositories(found) or CUDA_SOURCES in setup["files"]:
        # It has higher versions of the same packages; toolkits may still come from there.
        pin, priority = "release o=NVIDIA", -1
    else:
        return ""
    return (
        "# Written by Jupyterbox from the inventory.\n"
        f"Package: {CUDA_PACKAGES}\nPin: {pin}\nPin-Priority: {priority}\n"
    )


@operation()
def ppa_removed() -> Commands:
    """Take the PPA graphics-drivers out of apt's sources; its packages stay until replaced."""
    found = ask(NvidiaDriver)
    if found["state"] in ("no_hardware", "passthrough"):
        host.noop(found["cure"])
        return
    files = [r["file"] for r in found["evidence"]["repositories"] if r["archive"] == "ppa"]
    if not files:
        host.noop("apt does not have the PPA graphics-drivers")
        return
    for file in files:
        if re.search(r"\.sources$", file):
            # An entry is a paragraph; a file that has no other one goes.
            yield (
                f"awk -v RS= -v ORS='\\n\\n' '!/graphics-drivers/' {file} > {file}.new && "
                f"chmod --reference={file} {file}.new && mv {file}.new {file} && "
                f"{{ [ -s {file} ] || rm {file}; }}"
            )
        else:
            yield f"sed -i '/^[^#].*graphics-drivers/s/^/# /' {file}"
