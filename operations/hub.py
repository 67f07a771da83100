"""The hub as a service: its configuration, secrets, units and health."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from io import StringIO

import jinja2
from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import FileUploadCommand, PyinfraCommand, StringCommand

from facts.hub import Hub as HubFact
from facts.hub import HubHealth, HubState, Unit
from jupyterbox import layout
from jupyterbox.program import Commands, program, showing_progress
from jupyterbox.settings import REPOSITORY, Box
from operations import files
from operations.asking import ask
from operations.hub_release import HEALTH_TIMEOUT, address_on_box, in_url, switch_hub, switches
from operations.hub_wanted import lock_of, proxy_digest, wanted

VERIFY_TIMEOUT = 90  # seconds a step


@deploy("Hub service")
def serve(box: Box) -> None:
    """Configuration, PAM service, secrets and the two units; restarted when they have news."""
    files.directory(name="Keep the hub's state to root", path=layout.STATE, mode="700")
    secrets(name="Make the proxy's token and the cookie secret", box=box)
    # root runs what is in there.
    files.directory(name="Leave room for the operator's own", path=layout.CONFIG_D, mode="700")
    configured(name=f"Check and write {layout.CONFIG}", box=box)
    written(name="Write its PAM service and its units", box=box)
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
            layout.PAM_FILE,
            layout.unit_file(layout.PROXY_UNIT),
            layout.unit_file(layout.HUB_UNIT),
        )
    }


@operation()
def secrets(box: Box) -> Commands:
    """Make the proxy's token and the cookie secret on the box; they never leave it.

    + box: how many releases its hub keeps
    """
    there = ask(HubFact, keep=box.keep)["secrets"]
    missing = [name for name in ("proxy.env", "cookie_secret") if name not in there]
    if not missing:
        host.noop("the hub has its secrets")
        return
    yield program("make_secrets", directory=layout.STATE, names=missing)


@operation()
def configured(box: Box) -> Commands:
    """Write the hub's configuration, which is read by root alone: an operator may add secrets.

    Whatever the hub is about to read must load before: one that does not would take it down, now
    or when the box reboots. Another release is started on trial with it, on a copy of the database.

    + box: its hub
    """
    hub = ask(HubFact, keep=box.keep)
    content = rendered(box)[layout.CONFIG]
    release = wanted(box, hub)
    switching = switches(hub, release)
    if not (switching or restarts(box, hub)[layout.HUB_UNIT]):
        there = files.entry(layout.CONFIG)
        if there and there["mode"] != "600":
            yield f"chmod 600 {layout.CONFIG}"
        else:
            host.noop(f"{layout.CONFIG} is as it shall be")
        return
    staged = f"{layout.STATE}/jupyterhub_config.py"
    load = program(
        "load_config",
        python=f"{layout.RELEASES}/{release}/bin/python",
        path=staged,
        known_as=layout.CONFIG,
        unit=layout.HUB_UNIT,
        database=layout.DATABASE if switching else None,
    )
    yield f"mkdir -p {layout.CONFIG.rpartition('/')[0]}"
    yield FileUploadCommand(StringIO(content), staged)
    yield StringCommand(load, f"|| {{ rm {staged}; exit 1; }}")
    yield (
        f"chmod 600 {staged} && cp -p {staged} {layout.CONFIG}.new && rm {staged} "
        f"&& mv {layout.CONFIG}.new {layout.CONFIG}"
    )


@operation()
def written(box: Box) -> Commands:
    """Write who may log in, and the units, which everybody may read.

    + box: its hub
    """
    there = ask(HubFact, keep=box.keep)["files"]
    differ = {
        path: content
        for path, content in rendered(box).items()
        if path != layout.CONFIG and there.get(path) != digest(content)
    }
    if not differ:
        host.noop("the hub's PAM service and units are there")
        return
    for path, content in differ.items():
        yield FileUploadCommand(StringIO(content), f"{path}.new")
        yield f"chmod 644 {path}.new && mv {path}.new {path}"


def digest(content: str) -> str:
    """A text's, as the fact tells those of files."""
    return hashlib.sha256(content.encode()).hexdigest()


@operation()
def running(box: Box) -> Commands:
    """Enable and start the units, on the wanted release; restart what is older than what it reads.

    + box: its hub, whose proxy may be another than the one that runs
    """
    hub = ask(HubFact, keep=box.keep)
    release = wanted(box, hub)
    needs = restarts(box, hub)
    commands: list[str | PyinfraCommand] = [command for unit in needs.values() for command in unit]
    if switches(hub, release):
        # The switch comes with the restarts.
        commands = [command for command in commands if "enable" in str(command)]
        commands.append(switch_hub(box, release, with_proxy=bool(needs[layout.PROXY_UNIT])))
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
    release = hub["releases"].get(wanted(box, hub))
    made_of = release["proxy"] if release else proxy_digest(lock_of(box.hub))
    proxy_outdated = other_proxy(hub, made_of) or layout.PROXY_UNIT in files_change
    hub_outdated = layout.HUB_UNIT in files_change
    return {
        layout.PROXY_UNIT: list(unit_commands(layout.PROXY_UNIT, proxy, proxy_outdated)),
        layout.HUB_UNIT: list(unit_commands(layout.HUB_UNIT, server, hub_outdated)),
    }


def changing_files(box: Box, hub: HubState) -> list[str]:
    """The units that read a file whose declared content is not on the box yet."""
    differ = {
        path for path, content in rendered(box).items() if hub["files"].get(path) != digest(content)
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


def other_proxy(hub: HubState, made_of: str | None) -> bool:
    """Whether the proxy that runs is made of something else than the wanted one."""
    unit = hub["units"].get(layout.PROXY_UNIT)
    release = hub["releases"].get((unit and unit["runs_from"]) or "")
    return bool(unit and unit["active"]) and (release is None or release["proxy"] != made_of)


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


@operation(is_idempotent=False)
def verified(box: Box) -> Commands:
    """Use the hub as a user does, with an account made for it and removed again.

    + box: where its hub listens, and whether a driver of GPUs is declared
    """
    declared = "declared" if box.gpu else "found"
    yield showing_progress(
        program(
            "verify",
            python=f"{layout.CURRENT}/bin/python",
            hub=address_on_box(box.hub),
            account=layout.VERIFY_ACCOUNT,
            kernels=layout.KERNELS,
            timeout=VERIFY_TIMEOUT,
            driver="ignored" if box.gpu and box.gpu.ignore else declared,
        )
    )
