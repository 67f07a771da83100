"""What releases of the hub and of environments have in common: the switch, and removing old ones."""

from __future__ import annotations

import posixpath

from pyinfra.api.command import FunctionCommand

from jupyterbox.program import program, showing_progress


def switch(link: str, target: str) -> str:
    """The command that points a link at another release, noting which one it leaves.

    At one stroke: a rename replaces, ln -f removes.

    + link: its path
    + target: the release, relative to where the link lies
    """
    directory, _, name = link.rpartition("/")
    releases = posixpath.normpath(f"{directory}/{posixpath.dirname(target)}")
    # No environment has a name that begins with a dot.
    new = f"{directory}/.{name}.new"
    left = f'"$(readlink {link})"'
    note = f"[ ! -L {link} ] || [ {left} = {target} ] || basename {left} >> {releases}/.history"
    return (
        f"umask 022 && mkdir -p {directory} && {{ {note}; }} "
        f"&& ln -sfn {target} {new} && mv -T {new} {link}"
    )


def prune(
    directory: str, link: str, names: list[str], beside: list[str] | None = None
) -> FunctionCommand:
    """The command that removes releases, but for those that a process has begun to use meanwhile.

    + directory: where they lie
    + link: names the one that stays whatever happens
    + names: what goes, as `surplus` of the fact says
    + beside: files that go with a release, `{}` standing for its name
    """
    return showing_progress(
        program("prune", directory=directory, link=link, names=names, beside=beside or [])
    )
