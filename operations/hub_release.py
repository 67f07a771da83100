"""The hub's releases: the declared one is built, switched to, upgraded, left again, and removed."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import FunctionCommand

from facts.hub import Hub as HubFact
from facts.hub import HubState
from jupyterbox import __version__, layout
from jupyterbox.program import Commands, program, showing_progress, source
from jupyterbox.settings import Box, Hub
from operations import releases
from operations.asking import ask
from operations.hub_wanted import (
    PREPARE,
    answer_to,
    pinned,
    proxy_digest,
    release_id,
    upgrading,
    wanted,
)
from operations.refusing import refuse
from operations.releases import Build

HEALTH_TIMEOUT = 90  # seconds; a hub on a slow disk takes 20 to start


@deploy("Hub release")
def build(box: Box) -> None:
    """JupyterHub, JupyterLab, Node and the proxy as one release; what runs is left alone."""
    release(name="Build the hub's release", box=box)


@operation()
def release(box: Box) -> Commands:
    """Build the hub release that the lock declares, beside what runs.

    Where there is none to leave, `current` names it at once: environments are filled with its uv.
    Else `hub.running` switches, once everything else is there.

    + box: the hub's lock, and where packages come from
    """
    hub = ask(HubFact, keep=box.keep)
    identity = wanted(box, hub)
    first = hub["current"] not in hub["releases"]
    if identity in hub["releases"] and not first and not hub["switching"]:
        host.noop(f"the hub's release {identity} is there" + ", and nothing newer" * upgrading(box))
        return
    starts = f"{layout.RELEASES}/{hub['current']}" not in hub["broken"]
    if hub["switching"] and hub["current"] and starts and not first:
        # The run that had begun it has died: it is seen to its end, or taken back.
        yield switch_hub(box, hub["current"])
    if identity not in hub["releases"]:
        yield from releases.building(filling(box, hub))
    if first:
        yield releases.switch(layout.CURRENT, f"releases/{identity}")


def filling(box: Box, hub: HubState) -> Build:
    """What fills a directory of its own; release.json comes last and says that it is complete."""
    identity, lock = answer_to(box, hub)
    staged = f"{layout.CACHE}/{identity}"
    command = program(
        "build_hub",
        prefix=f"{layout.RELEASES}/{identity}",
        lock=staged,
        kernels=layout.KERNELS,
        python_index=box.mirrors.python,
        npm=box.mirrors.npm,
        cache=layout.WHEELS,
        about={
            "id": identity,
            # An upgrade is another answer to what the settings ask for.
            "declared": release_id(box.hub, hub["python"] or ""),
            "proxy": proxy_digest(lock),
            "by": f"jupyterbox {__version__}",
        },
    )
    programs = {f"{PREPARE}.py": source(PREPARE), "uv.txt": pinned(lock, "uv")}
    return Build(command, {f"{staged}/{name}": text for name, text in (lock | programs).items()})


def switches(hub: HubState, identity: str) -> bool:
    """Whether the hub has yet to be switched to a release, or to run it."""
    if hub["current"] not in hub["releases"]:
        return False
    unit = hub["units"].get(layout.HUB_UNIT)
    runs = unit["runs_from"] if unit and unit["active"] else None
    return hub["current"] != identity or runs not in (None, identity)


def switch_hub(
    box: Box, identity: str, with_proxy: bool = False, restore: bool = False
) -> FunctionCommand:
    """The command that switches the hub, waits for it, and switches it back if it does not come.

    + with_proxy: the proxy has something new to read, too
    + restore: an older release gets back the database that it used
    """
    return showing_progress(
        program(
            "switch_hub",
            root=layout.ROOT,
            release=identity,
            hub=layout.HUB_UNIT,
            proxy=layout.PROXY_UNIT,
            database=layout.DATABASE,
            url=f"{address_on_box(box.hub)}hub/health",
            timeout=HEALTH_TIMEOUT,
            with_proxy=with_proxy,
            restore=restore,
        )
    )


def address_on_box(hub: Hub) -> str:
    """Where the hub answers, as seen from the box, with its base_url."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    address = in_url(everywhere.get(hub.address, hub.address))
    return f"http://{address}:{hub.port}{hub.base_url}"


def in_url(address: str) -> str:
    """An address as a URL writes it."""
    return f"[{address}]" if ":" in address else address


@operation()
def pruned(box: Box) -> Commands:
    """Remove the oldest releases of the hub, but for those that somebody's server runs from.

    + box: how many it keeps
    """
    hub = ask(HubFact, keep=box.keep)
    identity = wanted(box, hub)
    if identity != hub["current"]:
        hub = host.get_fact(HubFact, keep=box.keep, wanted=identity)
    if not hub["surplus"]:
        host.noop("the hub has no release too many")
        return
    copies = [f"{layout.DATABASE}.{{}}"]
    yield releases.prune(layout.RELEASES, layout.CURRENT, hub["surplus"], beside=copies)


@operation()
def rolled_back(box: Box, release: str | None = None) -> Commands:
    """Switch the hub to a release that it ran before, with the database that this one used.

    + box: where its hub listens
    + release: by default the one that was current before; where a rollback was interrupted, the
        one that it was going to
    """
    hub = host.get_fact(HubFact)
    target = release or hub["previous"]
    problem = no_way_back(hub, target)
    if problem or target is None:
        yield from refuse([problem or ""])
        return
    if target == hub["current"] and not hub["switching"] and not switches(hub, target):
        host.noop(f"the hub is at release {target}")
        return
    yield switch_hub(box, target, restore=True)
    stays = hub["releases"][target]["declared"] == release_id(box.hub, hub["python"] or "")
    yield showing_progress(f"echo '{how_to_stay(target, stays)}'")


def no_way_back(hub: HubState, target: str | None) -> str | None:
    """Why the hub cannot go back to a release, in a sentence; None where it can."""
    there = ", ".join(hub["releases"]) or "none"
    if target is None:
        return f"the hub has run no other release: there is {there}; --data release=ID names one."
    if target not in hub["releases"]:
        return f"the hub has no release {target}: there is {there}."
    reason = hub["broken"].get(f"{layout.RELEASES}/{target}")
    return f"the hub's release {target} {reason}: it does not start." if reason else None


def how_to_stay(release: str, stays: bool) -> str:
    """What the next deploy does, and what to do where it shall not."""
    if stays:
        return "The next deploy stays there: it is what the settings declare, too."
    return (
        "The next deploy returns to what the settings declare. To stay, copy requirements.txt, "
        f"proxy/package.json and proxy/package-lock.json of {layout.RELEASES}/{release} into a "
        "directory beside the inventory, and name it there: Hub(lock=...)."
    )
