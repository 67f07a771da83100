"""Releases of the hub and of environments alike: switching to one, removing old ones."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from io import StringIO
from typing import NamedTuple

from pyinfra.api.command import FileUploadCommand, FunctionCommand, PyinfraCommand, StringCommand

from jupyterbox import layout
from jupyterbox.program import at_once, program, showing_progress


class Build(NamedTuple):
    """What builds a release: a command, and the files that it needs, with their text by path."""

    command: StringCommand
    files: dict[str, str]


def building(*builds: Build) -> Iterator[str | PyinfraCommand]:
    """The commands that build releases; several are built side by side."""
    files = {path: text for build in builds for path, text in build.files.items()}
    for directory in sorted({posixpath.dirname(path) for path in files}):
        yield f"mkdir -p {directory}"
    for path, text in files.items():
        yield FileUploadCommand(StringIO(text), path)
    yield at_once(*(build.command for build in builds))
    if files:
        yield f"rm -rf {layout.CACHE}"


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
