"""What an operator asks to be solved anew: `--data upgrade=hub`, `envs`, a name, or several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from jupyterbox.settings import Box

HUB, ALL = "hub", "envs"


class Upgrades(NamedTuple):
    """The hub or not, and which environments, in the order of the settings."""

    hub: bool
    environments: list[str]


def upgrades(asked: Any, box: Box) -> Upgrades:
    """What is asked for; what is not known there, `problems` tells.

    Args:
        asked: `host.data.get("upgrade")`: names with commas between them, or nothing.
        box: whose environments can be named.
    """
    names = _names(asked)
    return Upgrades(
        HUB in names,
        [e.name for e in box.environments if ALL in names or e.name in names],
    )


def problems(asked: Any, box: Box) -> Iterator[str]:
    """A sentence for each name that cannot be upgraded."""
    known = [HUB, ALL, *(environment.name for environment in box.environments)]
    for name in _names(asked):
        if name not in known:
            yield f"upgrade={name}: there is none of that name; allowed are {', '.join(known)}."


def _names(asked: Any) -> list[str]:
    """The names, as pyinfra hands over what stands behind `--data upgrade=`."""
    return [name for name in str(asked or "").replace(" ", "").split(",") if name]
