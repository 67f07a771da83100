"""What the layers of a deploy ask of every box, for all of it to be asked at once."""

from __future__ import annotations

from facts.by_hand import ByHand
from facts.conda import CondaReleases
from facts.files import Entries
from facts.gpu import NvidiaDriver
from facts.hub import Hub
from facts.jupyter import PublishedKernelspecs
from facts.packages import MissingPackages, Site, StaleAuthorities
from facts.users import Accounts
from jupyterbox import layout
from jupyterbox.settings import Box
from operations import conda, jupyter, packages, users
from operations.asking import Question, ask, ask_at_once, know


def ask_all(box: Box) -> None:
    """Ask a box what is asked of every box; what has no answer here is asked where it is needed.

    + box: its settings
    """
    ask_at_once(questions(box))
    for path, entry in ask(Entries, paths=paths(box)).items():
        know(Entries, {path: entry}, paths=[path])


def questions(box: Box) -> list[Question]:
    """The facts, each with the arguments that its layer gives it."""
    found: list[Question] = [
        (CondaReleases, {"root": box.conda.root}),
        (Hub, {"keep": box.keep}),
        (PublishedKernelspecs, jupyter.asked(box)),
        (ByHand, {}),
        (Accounts, users.asked(box.users, box.groups)),
        (Entries, {"paths": paths(box)}),
        (MissingPackages, {"packages": box.packages}),
        (Site, packages.SITE),
    ]
    if box.gpu is None or not box.gpu.ignore:
        found.append((NvidiaDriver, {}))
    if box.ca_certificates:
        found.append((StaleAuthorities, packages.authorities(box)))
    return found


def paths(box: Box) -> list[str]:
    """Where operations have files, directories and links that are the project's alone."""
    return [
        packages.NEEDRESTART,
        *map(packages.authority, box.ca_certificates),
        conda.condarc_file(box.conda.root),
        layout.PROFILE,
        layout.STATE,
        layout.CONFIG_D,
        layout.CONFIG,
    ]
