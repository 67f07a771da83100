"""Several releases that are missing are built at once: one downloads while another unpacks."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host
from pyinfra.api import operation

from facts.conda import CondaReleases
from facts.hub import Hub
from jupyterbox import layout
from jupyterbox.program import Commands
from jupyterbox.settings import Box
from operations import environments, hub_release
from operations.asking import ask
from operations.hub_wanted import wanted
from operations.releases import Build, building


@operation()
def build(box: Box) -> Commands:
    """Build the hub's release and the environments' that are missing, where there are several.

    Nothing is switched to, and nothing relies on it: the layers that follow find them there, and
    build what they do not find.

    + box: its settings
    """
    builds = [*missing(box)]
    if len(builds) < 2:
        host.noop("there are no two releases to build")
        return
    yield from building(*builds)


def missing(box: Box) -> Iterator[Build]:
    """What builds each release that is not there; the hub's first, since the others wait for it."""
    hub = ask(Hub, keep=box.keep)
    identity = wanted(box, hub)
    if identity not in hub["releases"]:
        if hub["switching"]:
            # It was cut off, and is seen to its end before anything is built.
            return
        yield hub_release.filling(box, hub)
    # Not the current one: a first run that died may have built it and not yet named it.
    tools = f"{layout.RELEASES}/{identity}"
    there = ask(CondaReleases, root=box.conda.root)["environments"]
    for environment in box.environments:
        if environments.is_missing(environment, box, there.get(environment.name)):
            declared = environment.release_id(box.conda.channels)
            yield environments.filling(environment, box, declared, hub=tools)
