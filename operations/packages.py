"""The system's packages, where they come from, and the authorities that the box trusts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import FileUploadCommand, PyinfraCommand
from pyinfra.operations import apt

from facts.packages import MissingPackages, Site, SiteState, StaleAuthorities
from jupyterbox import layout
from jupyterbox.certificates import read_certificates
from jupyterbox.program import Commands
from jupyterbox.settings import REPOSITORY, Box, Mirrors
from operations import files
from operations.asking import ask
from operations.journal import noting

AUTHORITIES = "/usr/local/share/ca-certificates"
MIRROR = "/etc/apt/sources.list.d/jupyterbox-mirror.sources"
NEEDRESTART = "/etc/needrestart/conf.d/jupyterbox.conf"
PIP_CONF = "/etc/pip.conf"
PIP_DEFAULT = Mirrors().python
ASIDE = ".before-jupyterbox"
SITE = {"apt": MIRROR, "pip": PIP_CONF, "aside": ASIDE}
OURS = "# Written by Jupyterbox from the inventory."

# An interrupted run may have left dpkg half way; on a box that has just booted, the daily update
# may hold the lock for a while, for which dpkg returns 2. What fails otherwise, as a kernel module
# that does not build, takes minutes and fails again.
READY = (
    "for try in $(seq 30); do DEBIAN_FRONTEND=noninteractive dpkg --configure -a; "
    "case $? in 0) apt-get -qq update && exit 0 ;; 2) ;; *) exit 1 ;; esac; sleep 10; done; exit 1"
)


@deploy("Packages")
def install(box: Box) -> None:
    """The site's mirrors and authorities, and the packages that everything else needs."""
    files.content(
        name="Keep upgrades from restarting users' servers",
        path=NEEDRESTART,
        text=(REPOSITORY / f"box{NEEDRESTART}").read_text(),
    )
    mirrored(name="Point apt and pip at the site's mirrors", box=box)
    installed(name="Install the base packages", packages=box.packages)
    for path in box.ca_certificates:
        files.content(
            name=f"Bring the authority {path.stem}",
            path=authority(path),
            text=certificate(path),
        )
    if box.ca_certificates:
        trusted(name="Trust the site's authorities", box=box)


@operation()
def installed(packages: list[str]) -> Commands:
    """Install what is missing; what is there keeps its version.

    + packages: names, or name=version
    """
    names = ask(MissingPackages, packages=packages)
    missing = [package for package in packages if package.partition("=")[0] in names]
    if not missing:
        host.noop("the base packages are installed")
        return
    yield noting("package", *names)
    yield READY
    yield from apt.packages._inner(
        packages=missing,
        no_recommends=True,
        extra_install_args="-o DPkg::Lock::Timeout=300",
    )


@operation()
def mirrored(box: Box) -> Commands:
    """Let apt and pip fetch from the site's mirrors; what said otherwise is set aside.

    Without mirrors, what was set aside returns.

    + box: its mirrors and authorities
    """
    site = ask(Site, **SITE)
    commands = [*apt_commands(box.mirrors, site), *pip_commands(box, site)]
    yield from commands
    if not commands:
        host.noop("apt and pip fetch from where they shall")


def apt_commands(mirrors: Mirrors, site: SiteState) -> Iterator[str | PyinfraCommand]:
    """What gives apt the mirror alone, or its own sources back."""
    if not mirrors.apt:
        if site["apt"]:
            for path in site["aside"]:
                yield f"mv {path}{ASIDE} {path}"
            # Last: while it is there, the next run goes on with this.
            yield f"rm {MIRROR}"
        return
    wanted = mirror_sources(mirrors, site)
    if site["apt"] != lines_of(wanted):
        yield FileUploadCommand(StringIO(wanted), MIRROR)
        # Users' apt reads it, too, whatever umask root has here.
        yield f"chmod 644 {MIRROR}"
    for path in site["active"]:
        # apt reads .list and .sources only.
        yield f"mv {path} {path}{ASIDE}"


def pip_commands(box: Box, site: SiteState) -> Iterator[str | PyinfraCommand]:
    """What gives pip the site's index and authorities, or takes away what we wrote."""
    wanted = pip_conf(box)
    written = site["pip"][:1] == [OURS]
    if site["pip"] == lines_of(wanted):
        return
    if site["pip"] and not written and wanted:
        yield f"mv {PIP_CONF} {PIP_CONF}{ASIDE}"
    if wanted:
        yield FileUploadCommand(StringIO(wanted), PIP_CONF)
        yield f"chmod 644 {PIP_CONF}"
    elif written:
        yield f"mv {PIP_CONF}{ASIDE} {PIP_CONF} 2>/dev/null || rm {PIP_CONF}"


def lines_of(text: str) -> list[str]:
    """A text's lines, less the empty ones."""
    return [line for line in text.splitlines() if line.strip()]


def mirror_sources(mirrors: Mirrors, site: SiteState) -> str:
    """The mirror as a deb822 sources file."""
    codename, debian = site["codename"], site["os"] == "debian"
    archive = mirrors.apt or ""
    security = mirrors.apt_security or (f"{archive}-security" if debian else archive)
    suites = {archive: f"{codename} {codename}-updates"}
    suites[security] = " ".join(filter(None, [suites.get(security), f"{codename}-security"]))
    # All of them: microcode is in non-free-firmware, and NVIDIA's modules are in restricted.
    components = "main contrib non-free non-free-firmware"
    if not debian:
        components = "main restricted universe multiverse"
    keyring = f"/usr/share/keyrings/{'debian' if debian else 'ubuntu'}-archive-keyring.gpg"
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {suite}\n"
        f"Components: {components}\nSigned-By: {keyring}\n"
        for uri, suite in suites.items()
    )


@operation()
def trusted(box: Box) -> Commands:
    """Put the authorities of the site into the system's list, if one is new to it.

    + box: its certificates
    """
    if not ask(StaleAuthorities, **authorities(box)):
        host.noop("the site's authorities are in the system's list")
        return
    yield "update-ca-certificates"


def authority(path: Path) -> str:
    """Where a certificate of the site's lies on the box."""
    return f"{AUTHORITIES}/{path.stem}.crt"


def certificate(path: Path) -> str:
    """What lies there."""
    return f"{read_certificates(path)}\n"


def authorities(box: Box) -> dict[str, Any]:
    """What the fact about the site's authorities is asked: their files' sha256, and the list."""
    found = {
        authority(path): hashlib.sha256(certificate(path).encode()).hexdigest()
        for path in box.ca_certificates
    }
    return {"certificates": found, "bundle": layout.CA_BUNDLE}


def pip_conf(box: Box) -> str:
    """pip's configuration for everybody: `pip install` in a notebook asks the site's index, too.

    Empty where there is nothing to say.
    """
    lines = []
    if box.mirrors.python != PIP_DEFAULT:
        lines.append(f"index-url = {box.mirrors.python}")
    if box.ca_certificates:
        lines.append(f"cert = {layout.CA_BUNDLE}")
    return "\n".join([OURS, "[global]", *lines, ""]) if lines else ""
