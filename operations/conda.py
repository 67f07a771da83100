"""Conda itself, and the global environments, each built as a release beside what runs."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from typing import Any

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import (
    FileUploadCommand,
    FunctionCommand,
    PyinfraCommand,
    QuoteString,
)
from pyinfra.api.exceptions import OperationError
from pyinfra.facts.files import File
from pyinfra.operations import apt, files

from facts.conda import CondaReleases, EnvironmentReleases
from facts.preflight import Preflight
from jupyterbox import __version__, layout
from jupyterbox.certificates import read_certificates
from jupyterbox.program import Commands, program, question, showing_progress
from jupyterbox.settings import Box, Conda, Environment, Installer
from jupyterbox.upgrades import upgrades
from operations import by_hand, jupyter, packages
from operations.journal import noting
from operations.refusing import refuse

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
    files.put(
        name="Write the system condarc",
        src=StringIO(condarc(box)),
        dest=f"{conda.root}/.condarc",
        mode="644",
    )
    files.link(
        name="Give login shells the conda command",
        path=layout.PROFILE,
        target=f"{conda.root}/etc/profile.d/conda.sh",
        # A copy by hand is kept beside it, under a name that no shell reads.
        force=True,
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
    if host.get_fact(CondaReleases, root=root)["installed"]:
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
    # -u: the directory is there, and an interrupted run may have left half a conda in it. Its
    # installer may still be at it, holding the marker.
    script = layout.staged_installer(installer.sha256)
    install = f"flock {marker} bash {script} -b -u -p {root}"
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


@deploy("Environments")
def build_environments(box: Box) -> None:
    """Every declared environment as a release of its own, and its link on that release.

    Those that `--data upgrade=` names are solved anew.
    """
    upgrade = upgrades(host.data.get("upgrade"), box).environments
    for environment in box.environments:
        name = environment.name
        built(name=f"Build {name}", environment=environment, box=box, upgrade=name in upgrade)


@operation()
def built(environment: Environment, box: Box, upgrade: bool = False) -> Commands:
    """Build the release that an environment's settings declare, beside what runs, and switch to it.

    + environment: what it shall hold
    + box: the box's channels, mirrors and conda
    + upgrade: solve anew, and build beside as a further release what comes of it
    """
    root, name = box.conda.root, environment.name
    declared = environment.release_id(box.conda.channels)
    there = host.get_fact(CondaReleases, root=root)["environments"].get(name)
    plain = by_hand.ask(environment, box) if there and there["plain"] else None
    if plain and not plain["lacks"] and not upgrade:
        host.noop(f"environment {name} was made by hand, and holds what is declared")
        return
    if plain and plain["used_by"]:
        raise OperationError(by_hand.in_use(root, name, plain))
    fitting = sorted(filter(fits(declared), there["complete"] if there else []), key=number)
    current = there["current"] if there and there["current"] in fitting else None
    if upgrade and fitting and not (environment.is_locked or plain):
        further = f"{declared}-{number(fitting[-1]) + 1}"
        yield from build(environment, box, further, unlike=current)
        # One with nothing new in it is gone again.
        record = f"{layout.conda_release(root, name, further)}/release.json"
        yield f"[ ! -e {record} ] || {{ {switch_to(root, name, further)}; }}"
        return
    if current:
        locked = ", which is locked: there is nothing to upgrade" if upgrade else ""
        host.noop(f"environment {name} is at release {current}{locked}")
        return
    if not fitting:
        yield from build(environment, box, declared)
    release = fitting[-1] if fitting else declared
    if plain:
        yield program("set_aside", root=root, name=name, release=release)
        return
    yield switch_to(root, name, release)


def fits(declared: str) -> Callable[[str], bool]:
    """Whether a release is what settings declare, of whenever it was solved."""
    return lambda release: layout.declares(release) == declared


def number(release: str) -> int:
    """Which of its declaration's releases one is; the first has no number."""
    return int(release.partition("-")[2] or 1)


def build(
    environment: Environment, box: Box, release: str, unlike: str | None = None
) -> Iterator[str | PyinfraCommand]:
    """Fill the directory of a release; release.json comes last and says that it is complete.

    + unlike: a release; with just its packages the new one is thrown away
    """
    explicit = environment.explicit(box.mirrors.conda)
    lock = f"{layout.CACHE}/{release}.txt" if explicit else None
    if explicit and lock:
        # It has hundreds of lines, too many for a command.
        yield f"mkdir -p {layout.CACHE}"
        yield FileUploadCommand(StringIO(explicit), lock)
    yield showing_progress(
        program(
            "build_environment",
            # It has what speaks to kernels.
            python=f"{layout.CURRENT}/bin/python",
            root=box.conda.root,
            name=environment.name,
            id=release,
            conda=environment.conda,
            pip=environment.pip,
            channels=environment.channels or box.conda.channels,
            lock=lock,
            mirror=box.mirrors.conda,
            python_index=box.mirrors.python,
            uv=f"{layout.CURRENT}/bin/uv",
            variables=environment.variables,
            unlike=unlike,
            by=f"jupyterbox {__version__}",
        )
    )
    if lock:
        yield f"rm -rf {layout.CACHE}"


@operation()
def rolled_back(environment: str, release: Any, box: Box) -> Commands:
    """Go back to another release of an environment, and publish its kernels again.

    + environment: its name
    + release: its id; by default that of the release that was current before
    + box: its environments' settings, and where its conda lives
    """
    root, environment = box.conda.root, str(environment)
    there = host.get_fact(CondaReleases, root=root)["environments"]
    target = release_to_go_back_to(release, there.get(environment))
    if not target:
        yield from refuse([no_way_back(environment, release, there)])
        return
    # The link comes last: a run that dies before has gone back nowhere, and is run again.
    yield from jupyter.published_of(environment, target, box)
    if there[environment]["current"] == target:
        host.noop(f"environment {environment} is at release {target}")
        return
    yield switch_to(root, environment, target)
    known = [e.release_id(box.conda.channels) for e in box.environments if e.name == environment]
    if known and layout.declares(target) not in known:
        said = f"The next deploy moves {environment} on to what is declared: change that, too."
        yield showing_progress("echo", QuoteString(said))


def release_to_go_back_to(asked: Any, found: EnvironmentReleases | None) -> str | None:
    """The id of the release that somebody means; `None` where there is none such."""
    if found is None or asked is None:
        return found and found["previous"]
    return next((release for release in found["complete"] if means(asked, release)), None)


def no_way_back(environment: str, asked: Any, there: Mapping[str, EnvironmentReleases]) -> str:
    """Why an environment cannot go back to a release, in a sentence."""
    built = {name: found for name, found in there.items() if found["complete"]}
    if environment not in built:
        names = ", ".join(built) or "none"
        return f"no environment {environment!r} has releases here: there are {names}."
    found = built[environment]
    shown = ", ".join(f"{r} (current)" if r == found["current"] else r for r in found["complete"])
    wanted = "earlier release" if asked is None else f"release {asked!r}"
    return f"environment {environment} has no {wanted}: there are {shown}."


def means(asked: Any, release: str) -> bool:
    """Whether `--data release=` names a release: pyinfra reads some ids as numbers."""
    try:
        return asked in (release, json.loads(release))
    except ValueError:
        return bool(asked == release)


def switch_to(root: str, environment: str, release: str) -> str:
    """The command that makes a release the current one."""
    return switch(f"{root}/envs/{environment}", f"../releases/{environment}/{release}")


def switch(link: str, target: str) -> str:
    """The command that points a link elsewhere at one stroke: a rename replaces, ln -f removes.

    The release that it named is written down first, as one to go back to.
    """
    directory, _, name = link.rpartition("/")
    history = posixpath.normpath(f"{directory}/{posixpath.dirname(target)}/.history")
    # No environment has a name that begins with a dot.
    new = f"{directory}/.{name}.new"
    return (
        f"umask 022 && mkdir -p {directory} && "
        f'{{ [ ! -h {link} ] || basename "$(readlink {link})" >> {history}; }} && '
        f"ln -sfn {target} {new} && mv -T {new} {link}"
    )
