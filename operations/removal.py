"""Removal: of one environment, or of everything that this project has put on a box."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import QuoteString

from facts.belongings import Belongings, BelongingsState, Inhabitant
from facts.conda import CondaReleases
from facts.driver_setup import BLACKLIST, FILES
from facts.jupyter import PublishedKernelspecs
from jupyterbox import layout
from jupyterbox.program import Commands, program, showing_progress
from jupyterbox.settings import Box, Mirrors
from operations import packages
from operations.gpu_apt import MAKE_LOG
from operations.journal import noting
from operations.refusing import refuse

ALLOWED = "say what is to be removed: `--data env=NAME`, or `--data everything=yes`."
FORCE = "`--data force=yes` removes it all the same."
SERVERS = "jupyter-*-singleuser.service"
STAYS = {
    "package": "Packages that were installed",
    "component": "What was added to apt's sources for them",
    "account": "Accounts that were made",
    "group": "Groups that were made",
}
SHOWN = 5
"""Of a kind, in one sentence."""
UNITS = " ".join(layout.READS)
AFTER = {
    # A proxy that was told to end has failed, to systemd.
    "daemon-reload": f"systemctl daemon-reload && systemctl reset-failed {UNITS} 2>/dev/null; :",
    "update-ca-certificates": "update-ca-certificates",
    "update-initramfs": "update-initramfs -u -k all",
}
"""What is made anew once files are gone, by the name that the journal has of it meanwhile."""


@deploy("Removal")
def remove(box: Box, env: Any = None, everything: bool = False, force: bool = False) -> None:
    """Remove what is asked for; whoever asks for both or for neither is told what there is.

    + box: as it is declared
    + env: the name of an environment; pyinfra has made a number of what looks so
    + everything: whether all of it goes
    + force: whatever still runs from it
    """
    if (env in (None, "")) is not everything:
        refused(name="Is it said what is to be removed?", problems=[ALLOWED])
    elif not everything:
        environment(name=f"Remove environment {env}", env=str(env), box=box, force=force)
    else:
        stopped(name="Stop the hub, if nobody minds", box=box, force=force)
        # As a deploy does that declares none.
        without = box.model_copy(update={"mirrors": Mirrors(), "ca_certificates": []})
        packages.mirrored(name="Give apt and pip their own sources back", box=without)
        removed(name="Remove what is left", box=box)


@operation()
def refused(problems: list[str]) -> Commands:
    """Refuse a box.

    + problems: why
    """
    yield from refuse(problems)


@operation()
def environment(env: str, box: Box, force: bool = False) -> Commands:
    """Remove an environment: its published kernels, its link and its releases.

    + env: its name; one that is declared would be built again by the next deploy
    + box: where its conda lives, and what it declares
    + force: even if a process runs from it
    """
    root = box.conda.root
    there = host.get_fact(CondaReleases, root=root)["environments"]
    problems = list(not_to_remove(env, box, {name: e["plain"] for name, e in there.items()}))
    if not problems:
        found = host.get_fact(Belongings, root=root, env=env)
        problems = list(not_ours(root, env, found))
        problems += [] if force else lived_on(found["users"])
    if problems:
        yield from refuse(problems)
        return
    # First: nobody shall start another one.
    published = host.get_fact(PublishedKernelspecs, conda_root=root)["published"]
    specs = [name for name, spec in published.items() if is_of(env, spec)]
    directories = [f"{layout.KERNELS}/{name}" for name in specs] + found["directories"]
    yield program("remove", files=found["files"], directories=directories)


def not_to_remove(env: str, box: Box, there: dict[str, bool]) -> Iterator[str]:
    """Why an environment cannot be removed, whoever uses it.

    + there: the environments of the box; whether each was made by hand
    """
    path = f"{box.conda.root}/envs/{env}"
    if env in [environment.name for environment in box.environments]:
        yield (
            f"environment {env} is declared: the next deploy would build it again. Take it out of "
            "the inventory first."
        )
    elif env not in there:
        known = ", ".join(there) or "none"
        yield f"the box has no environment {env!r}: it has {known}."
    elif there[env]:
        yield f"{path} was made by hand: it is not this project's to remove."


def not_ours(root: str, env: str, found: BelongingsState) -> Iterator[str]:
    """Why what lies in an environment's place cannot be removed, whoever uses it."""
    if found["by_hand"]:
        yield (
            f"{root}/envs/{env} is a link that leads elsewhere: it is not this project's to "
            "remove. Remove it yourself; what is left of the environment goes then."
        )
    yield from mounted(found["mounts"])


def mounted(mounts: list[str]) -> Iterator[str]:
    """What is mounted in what is to be removed, and what to do about it."""
    if mounts:
        more = f", and {len(mounts) - SHOWN} more" if mounts[SHOWN:] else ""
        yield (
            f"something is mounted on {', '.join(mounts[:SHOWN])}{more}, in what is to be removed, "
            "and what lies there would go with it: unmount it first."
        )


def is_of(env: str, spec: dict[str, Any] | None) -> bool:
    """Whether a published kernelspec is an environment's."""
    metadata = (spec or {}).get("metadata")
    ours = metadata.get("jupyterbox") if isinstance(metadata, dict) else None
    return isinstance(ours, dict) and ours.get("environment") == env


def lived_on(users: list[Inhabitant]) -> Iterator[str]:
    """Who lives on what is to be removed, and what to do about it."""
    if not users:
        return
    shown = [
        f"process {user['pid']} ({user['name']}) of {user['user'] or 'nobody known'}"
        + (f" in {user['server']}" if user["server"] else "")
        for user in users[:SHOWN]
    ]
    more = f", and {len(users) - SHOWN} more" if users[SHOWN:] else ""
    yield f"it is in use by {', '.join(shown)}{more}: stop that first. {FORCE}"


def belongings(box: Box) -> BelongingsState:
    """What of ours is on the box."""
    found: BelongingsState = host.get_fact(Belongings, root=box.conda.root, files=files_of(box))
    return found


def files_of(box: Box) -> list[str]:
    """The files that deploys write outside of the directories that are ours."""
    return [
        packages.NEEDRESTART,
        layout.PAM_FILE,
        *map(layout.unit_file, layout.READS),
        *FILES,
        MAKE_LOG,
        *authorities(box),
    ]


def authorities(box: Box) -> list[str]:
    """Where the site's certificates lie on the box."""
    return [f"{packages.AUTHORITIES}/{path.stem}.crt" for path in box.ca_certificates]


@operation()
def stopped(box: Box, force: bool = False) -> Commands:
    """Stop and disable proxy and hub, unless somebody uses something of all that.

    + box: where its conda lives
    + force: even then; users' servers are stopped, too
    """
    found = belongings(box)
    problems = list(mounted(found["mounts"]))
    problems += [] if force else [*lived_on(found["users"]), *by_hand(found)]
    if problems:
        yield from refuse(problems)
        return
    units = [unit for unit in layout.READS if layout.unit_file(unit) in found["files"]]
    if force and any(user["server"] for user in found["users"]):
        yield f"systemctl stop '{SERVERS}'"
    if units:
        yield f"systemctl disable --quiet --now {' '.join(units)}"
    else:
        host.noop("neither proxy nor hub is there")


def by_hand(found: BelongingsState) -> Iterator[str]:
    """What somebody else has put into a conda of ours."""
    if found["by_hand"]:
        shown, rest = ", ".join(found["by_hand"][:SHOWN]), len(found["by_hand"]) - SHOWN
        more = f", and {rest} more" if rest > 0 else ""
        yield f"it was made by hand, and would go with conda: {shown}{more}. Move it away. {FORCE}"


@operation()
def removed(box: Box) -> Commands:
    """Remove the files and directories of ours, the journal last; say what stays.

    + box: where its conda lives, and its certificates
    """
    found = belongings(box)
    journal = found["journal"]
    if not found["files"] and not found["directories"]:
        host.noop("nothing of Jupyterbox is on the box")
        return
    if journal.get("hold"):
        # One that is not installed any more, nobody holds.
        yield f"apt-mark unhold {' '.join(journal['hold'])} >/dev/null 2>&1; :"
    yield showing_progress("printf '%s\\n'", *map(QuoteString, staying(journal)))
    # Files that are gone tell the next run nothing any more.
    noted = journal.get("due", [])
    if fresh := [what for what in caused(found["files"], box) if what not in noted]:
        yield noting("due", *fresh)
    folders = map(posixpath.dirname, [*files_of(box), *found["files"], *journal.get("file", [])])
    yield program("remove", files=found["files"], directories=[], folders=sorted({*folders}))
    yield from (command for what, command in AFTER.items() if what in [*noted, *fresh])
    # The journal may be there only since it was noted what is due.
    directories = dict.fromkeys([*found["directories"], layout.STATE])
    yield program("remove", files=[], directories=[*directories])


def caused(files: list[str], box: Box) -> Iterator[str]:
    """What is to be made anew once some files are gone, in the words of the journal."""
    if files:
        yield "daemon-reload"
    if set(authorities(box)) & set(files):
        yield "update-ca-certificates"
    if BLACKLIST in files:
        yield "update-initramfs"


def staying(journal: dict[str, list[str]]) -> Iterator[str]:
    """What a removal of everything leaves, a line each: it says so since the journal goes."""
    for kind, what in STAYS.items():
        if journal.get(kind):
            yield f"{what} stay: {', '.join(journal[kind])}."
    yield "Homes stay, with all that is in them."
