"""The system's packages, where they come from, and the authorities that the box trusts."""

from __future__ import annotations

from io import StringIO

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import FileUploadCommand
from pyinfra.operations import apt, files

from facts.packages import AptSources, MissingPackages, Sources, StaleAuthorities
from jupyterbox import layout
from jupyterbox.program import Commands
from jupyterbox.settings import Box, Mirrors

AUTHORITIES = "/usr/local/share/ca-certificates"
MIRROR = "/etc/apt/sources.list.d/jupyterbox-mirror.sources"
PIP_DEFAULT = Mirrors().python


@deploy("Packages")
def install(box: Box) -> None:
    """The site's mirror and authorities, and the packages that everything else needs."""
    if box.mirrors.apt:
        mirrored(name="Take packages from the site's mirror", mirrors=box.mirrors)
    installed(name="Install the base packages", packages=box.packages)
    for path in box.ca_certificates:
        files.put(
            name=f"Bring the authority {path.stem}",
            src=str(path),
            dest=f"{AUTHORITIES}/{path.stem}.crt",
            mode="644",
        )
    if box.ca_certificates:
        trusted(
            name="Trust the site's authorities",
            names=[f"{path.stem}.crt" for path in box.ca_certificates],
        )
    if box.ca_certificates or box.mirrors.python != PIP_DEFAULT:
        files.put(
            name="Tell pip where the site's index is",
            src=StringIO(pip_conf(box)),
            dest="/etc/pip.conf",
            mode="644",
        )


@operation()
def installed(packages: list[str]) -> Commands:
    """Install what is missing; what is there keeps its version.

    + packages: names, or name=version
    """
    names = host.get_fact(MissingPackages, packages=packages)
    missing = [package for package in packages if package.partition("=")[0] in names]
    if not missing:
        host.noop("the base packages are installed")
        return
    # An interrupted run may have left dpkg half way; on a box that has just booted, the daily
    # update may hold the lock for a while.
    yield "DEBIAN_FRONTEND=noninteractive dpkg --configure -a"
    yield "for try in 1 2 3 4 5 6; do apt-get -qq update && exit 0; sleep 10; done; exit 1"
    yield from apt.packages._inner(
        packages=missing,
        no_recommends=True,
        extra_install_args="-o DPkg::Lock::Timeout=300",
    )


@operation()
def mirrored(mirrors: Mirrors) -> Commands:
    """Let apt fetch from the site's mirror alone; the distribution's own sources are set aside.

    + mirrors: with the archive's URL, and the security archive's
    """
    sources = host.get_fact(AptSources, path=MIRROR)
    wanted = mirror_sources(mirrors, sources)
    if sources["written"] == list(filter(None, wanted.splitlines())) and not sources["active"]:
        host.noop("apt fetches from the site's mirror")
        return
    yield FileUploadCommand(StringIO(wanted), MIRROR)
    for path in sources["active"]:
        # apt reads .list and .sources only.
        yield f"mv {path} {path}.before-jupyterbox"


def mirror_sources(mirrors: Mirrors, sources: Sources) -> str:
    """The mirror as a deb822 sources file."""
    codename, debian = sources["codename"], sources["os"] == "debian"
    archive = mirrors.apt or ""
    security = mirrors.apt_security or (f"{archive}-security" if debian else archive)
    suites = {archive: f"{codename} {codename}-updates"}
    suites[security] = " ".join(filter(None, [suites.get(security), f"{codename}-security"]))
    components = "main" if debian else "main universe"
    keyring = f"/usr/share/keyrings/{'debian' if debian else 'ubuntu'}-archive-keyring.gpg"
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {suite}\n"
        f"Components: {components}\nSigned-By: {keyring}\n"
        for uri, suite in suites.items()
    )


@operation()
def trusted(names: list[str]) -> Commands:
    """Put the authorities of the site into the system's list, if one is newer than it.

    + names: their files
    """
    paths = [f"{AUTHORITIES}/{name}" for name in names]
    if not host.get_fact(StaleAuthorities, paths=paths, bundle=layout.CA_BUNDLE):
        host.noop("the site's authorities are in the system's list")
        return
    yield "update-ca-certificates"


def pip_conf(box: Box) -> str:
    """pip's configuration for everybody: `pip install` in a notebook asks the site's index, too."""
    lines = ["# Written by Jupyterbox from the inventory.", "[global]"]
    if box.mirrors.python != PIP_DEFAULT:
        lines.append(f"index-url = {box.mirrors.python}")
    if box.ca_certificates:
        lines.append(f"cert = {layout.CA_BUNDLE}")
    return "\n".join(lines) + "\n"
