"""Releases of the hub and of environments alike: switching to one, removing old ones."""

from __future__ import annotations

import posixpath

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
