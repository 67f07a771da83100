"""The global environments, each built as a release beside what runs, upgraded, and gone back in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import QuoteString
from pyinfra.api.exceptions import OperationError

from facts.conda import CondaReleases, EnvironmentReleases
from jupyterbox import __version__, layout
from jupyterbox.program import Commands, program, showing_progress
from jupyterbox.settings import Box, Environment
from jupyterbox.upgrades import upgrades
from operations import by_hand, jupyter
from operations.asking import ask
from operations.refusing import refuse
from operations.releases import Build, building, switch


@deploy("Environments")
def build(box: Box) -> None:
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
    there = ask(CondaReleases, root=root)["environments"].get(name)
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
        yield from building(filling(environment, box, further, unlike=current))
        # One with nothing new in it is gone again.
        record = f"{layout.conda_release(root, name, further)}/release.json"
        yield f"[ ! -e {record} ] || {{ {switch_to(root, name, further)}; }}"
        return
    if current:
        locked = ", which is locked: there is nothing to upgrade" if upgrade else ""
        host.noop(f"environment {name} is at release {current}{locked}")
        return
    if not fitting:
        yield from building(filling(environment, box, declared))
    release = fitting[-1] if fitting else declared
    if plain:
        yield program("set_aside", root=root, name=name, release=release)
        return
    yield switch_to(root, name, release)


def is_missing(environment: Environment, box: Box, there: EnvironmentReleases | None) -> bool:
    """Whether no release is what an environment's settings declare, and none was made by hand.

    + there: what there is of it; None where it has never been built
    """
    declared = environment.release_id(box.conda.channels)
    return not there or not (there["plain"] or any(map(fits(declared), there["complete"])))


def fits(declared: str) -> Callable[[str], bool]:
    """Whether a release is what settings declare, of whenever it was solved."""
    return lambda release: layout.declares(release) == declared


def number(release: str) -> int:
    """Which of its declaration's releases one is; the first has no number."""
    return int(release.partition("-")[2] or 1)


def filling(
    environment: Environment,
    box: Box,
    release: str,
    unlike: str | None = None,
    hub: str = layout.CURRENT,
) -> Build:
    """What fills the directory of a release; release.json comes last and says that it is complete.

    + unlike: a release; with just its packages the new one is thrown away
    + hub: the hub's release that has uv and what speaks to kernels; it may be on its way
    """
    explicit = environment.explicit(box.mirrors.conda)
    lock = f"{layout.CACHE}/{release}.txt" if explicit else None
    command = program(
        "build_environment",
        root=box.conda.root,
        name=environment.name,
        id=release,
        conda=environment.conda,
        pip=environment.pip,
        channels=environment.channels or box.conda.channels,
        lock=lock,
        mirror=box.mirrors.conda,
        python_index=box.mirrors.python,
        hub=hub,
        cache=layout.WHEELS,
        variables=environment.variables,
        unlike=unlike,
        by=f"jupyterbox {__version__}",
    )
    # A lock has hundreds of lines, too many for a command.
    return Build(command, {lock: explicit} if explicit and lock else {})


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
