"""Conda itself: installed, told where to look for packages, and given to login shells."""

from __future__ import annotations

import json

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import (
    FunctionCommand,
)
from pyinfra.api.exceptions import OperationError
from pyinfra.facts.files import File
from pyinfra.operations import apt

from facts.conda import CondaReleases
from facts.preflight import Preflight
from jupyterbox import layout
from jupyterbox.certificates import read_certificates
from jupyterbox.program import Commands, program, question, showing_progress
from jupyterbox.settings import Box, Conda, Installer
from operations import files, packages
from operations.asking import ask
from operations.journal import noting

ANACONDA_APT = "https://repo.anaconda.com/pkgs/misc/debrepo/conda"
ANACONDA_KEY = "https://repo.anaconda.com/pkgs/misc/gpgkeys/anaconda.asc"
ANACONDA_KEYRING = "/etc/apt/keyrings/conda.asc"
ANACONDA_SOURCES = "/etc/apt/sources.list.d/conda.sources"
ANACONDA_FINGERPRINT = "34161F5BF5EB1D4BFBBB8F0A8AEB4F8B29D82806"
"""Source: conda's installation page, confirmed in conda issue 14826."""


@deploy("Conda")
def install(box: Box) -> None:
    """Conda in its root, with the box's channels, on the path of login shells."""
    conda = box.conda
    if conda.source == "apt":
        add_vendor_repository()
    else:
        installed(name=f"Install conda into {conda.root}", box=box)
    files.content(name="Write the system condarc", path=condarc_file(conda.root), text=condarc(box))
    files.link(
        name="Give login shells the conda command",
        path=layout.PROFILE,
        target=f"{conda.root}/etc/profile.d/conda.sh",
    )


def add_vendor_repository() -> None:
    """Install conda from Anaconda's apt repository, with its key for that repository alone."""
    packages.installed(name="Install what fetches and reads a key", packages=["curl", "gpg"])
    vendor_key(name="Fetch the vendor's key and check its fingerprint")
    apt.sources_file(
        name="Add the vendor's repository",
        filename="conda",
        uris=ANACONDA_APT,
        suites="stable",
        components="main",
        architectures="amd64",
        signed_by=ANACONDA_KEYRING,
    )
    packages.installed(name="Install conda from the vendor's repository", packages=["conda"])


@operation()
def vendor_key() -> Commands:
    """Keep the vendor's key where apt finds it, if it is the one that its fingerprint names."""
    if host.get_fact(File, path=ANACONDA_KEYRING):
        host.noop(f"{ANACONDA_KEYRING} is there")
        return
    shown = f"gpg --show-keys --with-colons {ANACONDA_KEYRING}.new"
    is_theirs = f"{shown} | grep -q '^fpr:.*:{ANACONDA_FINGERPRINT}:'"
    yield noting("file", ANACONDA_KEYRING, ANACONDA_SOURCES)
    yield "mkdir -p /etc/apt/keyrings"
    yield f"curl -fsSL {ANACONDA_KEY} -o {ANACONDA_KEYRING}.new"
    yield (
        f"{is_theirs} || {{ rm -f {ANACONDA_KEYRING}.new; "
        f"echo '{ANACONDA_KEY} is not the key {ANACONDA_FINGERPRINT}.' >&2; exit 1; }}"
    )
    yield f"mv {ANACONDA_KEYRING}.new {ANACONDA_KEYRING}"


def condarc_file(root: str) -> str:
    """Where conda reads what holds for everybody."""
    return f"{root}/.condarc"


def condarc(box: Box) -> str:
    """The system condarc: the box's channels, and where their names lead."""
    lines = [
        "# Written by Jupyterbox from the inventory; changes made here are overwritten.",
        f"channel_alias: {box.mirrors.conda}",
        "channels:",
        # In quotes: to YAML, a channel of digits alone is a number.
        *(f"  - {json.dumps(channel)}" for channel in box.conda.channels),
    ]
    if box.ca_certificates:
        lines.append(f"ssl_verify: {layout.CA_BUNDLE}")
    if box.conda.accept_anaconda_terms:
        lines += ["plugins:", "  auto_accept_tos: true"]
    return "\n".join(lines) + "\n"


@operation()
def installed(box: Box) -> Commands:
    """Install conda by its installer script, which is not run before its hash is right.

    + box: what it shall be; a conda that is there stays as it is
    """
    root = box.conda.root
    if ask(CondaReleases, root=root)["installed"]:
        host.noop(f"conda is installed in {root}")
        return
    system = host.get_fact(Preflight)
    installer = installer_for(box.conda, system["architecture"])
    marker = f"{root}/.jupyterbox-installing"
    yield stage(installer, box)
    # What was in there before would go with conda when that is removed.
    yield noting("conda", root, unless=f'[ "$(ls -A -I lost+found {root} 2>/dev/null)" ]')
    # Users read all of it, whatever umask root has here.
    yield f"umask 022 && mkdir -p {root} && touch {marker} && chmod 600 {marker}"
    # -u: the directory is there, and an interrupted run may have left half a conda in it, with half
    # a module that was compiled when the disk was full: that is never compiled again. Its installer
    # may still be at it, holding the marker.
    script = layout.staged_installer(installer.sha256)
    compiled = f"find {root} -path {root}/envs -prune -o -name '*.pyc' -exec rm {{}} +"
    install = f'flock {marker} sh -c "{compiled}; exec bash {script} -b -u -p {root}"'
    yield showing_progress(f"umask 022; echo 'installing conda'; {install} > /dev/null")
    yield f"rm -rf {marker} {layout.CACHE}"


def stage(installer: Installer, box: Box, even_without_python: bool = True) -> FunctionCommand:
    """The command that fetches an installer to where it waits; it does nothing if it is there.

    + even_without_python: fail on a box that has no Python yet, instead of leaving it for later
    """
    command = program if even_without_python else question
    return showing_progress(
        command(
            "fetch",
            url=installer.url,
            sha256=installer.sha256,
            path=layout.staged_installer(installer.sha256),
            ca=certificates(box),
        )
    )


def certificates(box: Box) -> str:
    """The site's certificates as one PEM text."""
    return "\n".join(read_certificates(path) for path in box.ca_certificates)


def installer_for(conda: Conda, architecture: str) -> Installer:
    """The installer for a box.

    Raises:
        OperationError: when the settings have none for its architecture.
    """
    for known, installer in conda.installers.items():
        if known == architecture:
            return installer
    raise OperationError(
        f"Conda.installers has none for {architecture!r}: it has {', '.join(conda.installers)}"
    )
