"""Files, directories and links that are ours alone: root's, with just this content and mode."""

from __future__ import annotations

import hashlib
import posixpath
from io import StringIO

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import FileUploadCommand, QuoteString, StringCommand

from facts.files import Entries, Entry
from jupyterbox.program import Commands
from operations.asking import ask

ROOT = "root:root"


def entry(path: str) -> Entry | None:
    """What lies at a path."""
    return ask(Entries, paths=[path]).get(path)


@operation()
def content(path: str, text: str, mode: str = "644") -> Commands:
    """Have a file with a text; who reads it finds the old one or the new one, and never half of it.

    + path: where; directories on the way to it that are missing are made for everybody
    + text: all that it holds
    + mode: octal
    """
    there, sha256 = entry(path), hashlib.sha256(text.encode()).hexdigest()
    if there and (there["sha256"], there["mode"], there["owner"]) == (sha256, mode, ROOT):
        host.noop(f"{path} is as it shall be")
        return
    new = f"{path}.new"
    yield StringCommand("umask 022 && mkdir -p", QuoteString(posixpath.dirname(path)))
    yield FileUploadCommand(StringIO(text), new)
    quoted = QuoteString(new)
    yield StringCommand(
        f"chown {ROOT}", quoted, f"&& chmod {mode}", quoted, "&& mv -T", quoted, QuoteString(path)
    )


@operation()
def directory(path: str, mode: str) -> Commands:
    """Have a directory.

    + path: where
    + mode: octal
    """
    there = entry(path)
    if there and (there["kind"], there["mode"], there["owner"]) == ("directory", mode, ROOT):
        host.noop(f"{path} is as it shall be")
        return
    # Nobody sees it with another mode.
    yield f"mkdir -p -m {mode} {path} && chown {ROOT} {path} && chmod {mode} {path}"


@operation()
def link(path: str, target: str) -> Commands:
    """Have a link; a file in its place is kept beside it, numbered.

    + path: where
    + target: what it leads to
    """
    there = entry(path)
    if there and there["target"] == target:
        host.noop(f"{path} is as it shall be")
        return
    new, here = QuoteString(f"{path}.new"), QuoteString(path)
    yield StringCommand("ln -sfn", QuoteString(target), new)
    if there and there["target"] is None:
        yield StringCommand("mv -T --backup=numbered", here, QuoteString(f"{path}.by-hand"))
    yield StringCommand("mv -T", new, here)
