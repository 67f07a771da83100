"""Removing old releases, of the hub and of environments alike."""

from __future__ import annotations

from pyinfra.api.command import FunctionCommand

from jupyterbox.program import program, showing_progress


def prune(
    directory: str, link: str, names: list[str], beside: list[str] | None = None
) -> FunctionCommand:
    """The command that removes releases, but for those that a process has begun to use meanwhile.

    + directory: where they lie
    + link: names the one that stays whatever happens
    + names: what goes, as the facts say: they ask old_releases.surplus
    + beside: files that go with a release, `{}` standing for its name
    """
    return showing_progress(
        program("prune", directory=directory, link=link, names=names, beside=beside or [])
    )
