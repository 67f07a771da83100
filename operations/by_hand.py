"""Environments that were made by hand as plain directories: they stay until something changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyinfra import host

from facts.by_hand import EnvironmentByHand, PlainEnvironment
from facts.conda import EnvironmentReleases
from jupyterbox.settings import Box, Environment


def look(box: Box, there: Mapping[str, EnvironmentReleases]) -> dict[str, EnvironmentByHand]:
    """The declared environments that were made by hand; asks nothing where there are none."""
    plain = [e for e in box.environments if e.name in there and there[e.name]["plain"]]
    return {environment.name: ask(environment, box) for environment in plain}


def ask(environment: Environment, box: Box) -> EnvironmentByHand:
    """What one of them lacks of what is declared, and who runs from it."""
    names = (url.partition("#")[0].rpartition("/")[2] for url in environment.locked_urls())
    return host.get_fact(
        PlainEnvironment,
        prefix=f"{box.conda.root}/envs/{environment.name}",
        conda=environment.conda,
        pip=environment.pip,
        stems=[name.removesuffix(".conda").removesuffix(".tar.bz2") for name in names],
    )


def in_use(root: str, name: str, found: EnvironmentByHand) -> str:
    """What to say of one whose place is needed, and that processes run from."""
    return (
        f"{root}/envs/{name} was made by hand, and a release would take its place "
        f"({lacking(found)}): {', '.join(found['used_by'])} would import the rest of themselves "
        "from that. Deploy again when they have ended"
    )


def lacking(found: EnvironmentByHand) -> str:
    """Why it cannot stay as it is."""
    return f"it lacks {', '.join(found['lacks'])}" if found["lacks"] else "an upgrade is asked for"


def problems(root: str, by_hand: Mapping[str, EnvironmentByHand]) -> Iterator[str]:
    """Those that something is to change in while processes run from them."""
    for name, found in by_hand.items():
        if found["lacks"] and found["used_by"]:
            yield f"{in_use(root, name, found)}."


def told(root: str, by_hand: Mapping[str, EnvironmentByHand]) -> Iterator[str]:
    """What becomes of each, a line each; nothing of those that stay, on every run."""
    for name, found in by_hand.items():
        if found["lacks"]:
            yield (
                f"{root}/envs/{name} was made by hand: {lacking(found)}, so a release takes its "
                f"place, and it is kept in {root}/by-hand."
            )
