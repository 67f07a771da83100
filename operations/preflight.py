"""Everything that can be known to go wrong, found before anything on the box has changed."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from facts.by_hand import EnvironmentByHand
from facts.conda import CondaReleases, CondaState
from facts.hub import Hub, HubState
from facts.packages import AptRepositories, MissingPackages
from facts.preflight import (
    Access,
    AccessState,
    BecomesRoot,
    Preflight,
    RejectsSha1Keys,
    System,
    UrlProblems,
)
from facts.users import Accounts
from jupyterbox import layout
from jupyterbox.program import Commands
from jupyterbox.settings import Box, Environment, Mirrors
from operations import adoption, by_hand, gpu_problems, turn, users
from operations.asking import ask
from operations.conda import certificates, installer_for, stage
from operations.environments import fits
from operations.hub_wanted import upgrade_problems, wanted
from operations.questions import ask_all
from operations.refusing import refuse

SUPPORTED = {"debian": ["12", "13"], "ubuntu": ["22.04", "24.04", "26.04"]}

# What the steps take, in MB, measured on fresh boxes and rounded up.
HUB_RELEASE_MB = 900
CONDA_MB = 900
ENVIRONMENT_MB = 400
PACKAGE_MB = 50  # a declared package with what it depends on
STATE_MB = 100


class Found(NamedTuple):
    """The box as it is: what the problems are looked for in."""

    system: System
    conda: CondaState
    hub: HubState
    gpu: gpu_problems.Found
    by_hand: dict[str, EnvironmentByHand]

    def lacks_hub(self, box: Box) -> bool:
        """Whether the declared hub release must be built."""
        return wanted(box, self.hub) not in self.hub["releases"]

    def lacks(self, environment: Environment, box: Box) -> bool:
        """Whether an environment's declared release must be built."""
        there = self.conda["environments"].get(environment.name)
        release = environment.release_id(box.conda.channels)
        if environment.name in self.by_hand:
            return bool(self.by_hand[environment.name]["lacks"])
        return not there or not any(map(fits(release), there["complete"]))


@operation()
def check(box: Box) -> Commands:
    """Refuse a box that the deploy could not finish on, with all problems and their cures.

    Then make what the deploy stands on: the conda installer, whose hash is checked before anything
    else is touched, and a directory for uploads.

    + box: what it shall be
    """
    access = host.get_fact(Access, _sudo=False)
    problems = [*access_problems(access), *upgrade_problems(box)]
    if not problems:
        found = look(box)
        # What a run that is at work has not finished yet would pass for a problem.
        problems = [*turn.objections(found.system["turn"])] or [
            *system_problems(box, found),
            *url_problems(box, found),
        ]
    if problems:
        yield from refuse(problems)
        return
    tell(box, found)
    if not found.conda["installed"] and box.conda.source == "installer":
        installer = installer_for(box.conda, found.system["architecture"])
        yield stage(installer, box, even_without_python=False)
    yield from workspace(access)


def tell(box: Box, found: Found) -> None:
    """Say what was made by hand and is about to be taken over, once a run."""
    if host.state.is_executing and host.state.check_for_changes:
        return
    lines = list(by_hand.told(box.conda.root, found.by_hand))
    if "by_hand" in found.hub:
        lines += adoption.told(box, found.hub["by_hand"])
    for line in lines:
        host.log(line)


def look(box: Box) -> Found:
    """Ask the box for everything that the problems are looked for in."""
    system = host.get_fact(
        Preflight,
        paths=[layout.ROOT, box.conda.root, layout.STATE],
        units=[layout.HUB_UNIT, layout.PROXY_UNIT],
        **turn.question(),
    )
    # Not before the turn is ours: another run would still be changing what is asked for.
    ask_all(box)
    conda = ask(CondaReleases, root=box.conda.root)
    return Found(
        system,
        conda,
        ask(Hub, keep=box.keep),
        gpu_problems.look(box),
        by_hand.look(box, conda["environments"]),
    )


def access_problems(access: AccessState) -> Iterator[str]:
    """Becoming root must work, without a question if nobody is there to answer it."""
    arguments = cast(Mapping[str, Any], host.current_op_global_arguments or {})
    if not arguments.get("_sudo"):
        if access["uid"] != "0":
            yield f"{access['user']} is not root: log in as root, or let pyinfra use sudo."
        return
    if access["sudo"] == "yes":
        return
    if access["sudo"] == "the box has no sudo":
        yield "the box has no sudo: install it, or log in with ssh_user='root'."
        return
    if not (arguments.get("_sudo_password") or sys.stdin.isatty()):
        yield (
            f"sudo refuses {access['user']} without a password: give it in the variable "
            "JUPYTERBOX_SUDO_PASSWORD, or allow the account NOPASSWD in sudoers."
        )
        return
    # pyinfra keeps a small program for sudo in the workspace, even while it only plans.
    host.run_shell_command(workspace_command())
    if not host.get_fact(BecomesRoot, _ignore_errors=True):
        yield f"sudo refuses {access['user']} with this password: see `sudo -l` on the box."


def workspace_command() -> StringCommand:
    """Make the directory for uploads, in the home of the account that logs in."""
    directory = f"~/{layout.WORKSPACE}"
    return StringCommand(f"mkdir -p {directory} && chmod 700 {directory}", _sudo=False)


def workspace(access: AccessState) -> Iterator[StringCommand]:
    """Make that directory if it is missing or open to others."""
    if access["workspace"] != f"700 {access['user']}":
        yield workspace_command()


def system_problems(box: Box, found: Found) -> Iterator[str]:
    """System, architecture, init, space, ports, and what was made by hand."""
    system = found.system
    if system["version"] not in SUPPORTED.get(system["os"], []) and not box.allow_any_os:
        known = ", ".join(f"{os} {'/'.join(versions)}" for os, versions in SUPPORTED.items())
        yield (
            f"the box runs {system['name'] or 'an unknown system'}: supported are {known}; "
            "to try anyway, set allow_any_os=True."
        )
    if system["architecture"] not in ("amd64", "arm64"):
        yield f"the box is {system['architecture']}: Node and conda come for amd64 and arm64."
    elif not found.conda["installed"]:
        yield from conda_problems(box, system["architecture"])
    elif not found.conda["owned"]:
        yield (
            f"{box.conda.root} can be changed by others than root, who would run what is in it: "
            f"chown -R root:root {box.conda.root} && chmod -R go-w {box.conda.root}."
        )
    if system["init"] != "systemd":
        yield f"process 1 is {system['init']}: the hub needs systemd."
    if "by_hand" in found.hub:
        yield from adoption.problems(box, found.hub["by_hand"], host.data.get("adopt"))
    yield from space_problems(box, found)
    yield from port_problems(box, system)
    yield from gpu_problems.problems(box, found.gpu)
    yield from by_hand.problems(box.conda.root, found.by_hand)
    if box.users or box.groups:
        yield from users.other_ids(
            box.users, box.groups, ask(Accounts, **users.asked(box.users, box.groups))
        )


def conda_problems(box: Box, architecture: str) -> Iterator[str]:
    """Where conda shall come from must have it for this box."""
    if box.conda.source == "installer" and architecture not in dict(box.conda.installers):
        known = ", ".join(box.conda.installers)
        yield f"Conda.installers has none for {architecture}: it has {known}."
    if box.conda.source == "apt" and architecture != "amd64":
        yield f"Anaconda's apt repository has nothing for {architecture}: take the installer."
    if box.conda.source == "apt" and host.get_fact(RejectsSha1Keys):
        yield (
            "this system's apt refuses the key of Anaconda's repository (its signature is "
            "SHA1-bound): take conda from its installer, Conda(source='installer')."
        )


def space_problems(box: Box, found: Found) -> Iterator[str]:
    """What is about to be built must fit where it will lie."""
    needed: dict[str, int] = defaultdict(int)
    needed[layout.STATE] += STATE_MB
    if found.lacks_hub(box):
        needed[layout.ROOT] += HUB_RELEASE_MB
    if not found.conda["installed"]:
        needed[box.conda.root] += CONDA_MB
    for environment in box.environments:
        if found.lacks(environment, box):
            packages = len(environment.conda) + len(environment.pip)
            needed[box.conda.root] += ENVIRONMENT_MB + PACKAGE_MB * packages
    by_mount: dict[str, int] = defaultdict(int)
    free = {}
    for path, megabytes in needed.items():
        filesystem = found.system["filesystems"].get(path)
        if filesystem:
            by_mount[filesystem["mount"]] += megabytes
            free[filesystem["mount"]] = filesystem["free_mb"]
    for mount, megabytes in by_mount.items():
        if free[mount] < megabytes:
            yield f"{mount} has {free[mount]} MB free, and {megabytes} MB are needed: make room."


def port_problems(box: Box, system: System) -> Iterator[str]:
    """The three ports must be free, or held by the units that shall hold them."""
    addresses = {"port": box.hub.address}
    for setting in ("port", "proxy_api_port", "hub_port"):
        port, address = getattr(box.hub, setting), addresses.get(setting, "127.0.0.1")
        others = [
            listener
            for listener in system["listeners"]
            if listener["port"] == port
            and clash(listener["address"], address)
            and not {*listener["pids"]} & {*system["ours"]}
        ]
        if others:
            holder = "a process that does not show itself"
            if others[0]["process"]:
                holder = f"{others[0]['process']} (process {others[0]['pids'][0]})"
            yield (
                f"port {port} is taken by {holder}: stop it, or choose another with "
                f"Hub({setting}=...)."
            )


def clash(one: str, other: str) -> bool:
    """Whether two sockets with one port cannot both listen; `*` is any address of either kind."""
    return one == other or bool({one, other} & {"*", "0.0.0.0", "::"})


def channel_url(channel: str, mirrors: Mirrors) -> str:
    """Where conda looks for a channel: Anaconda's own are not below its `channel_alias`."""
    if "://" in channel:
        return channel
    if channel == "defaults" or channel.startswith("pkgs/"):
        return f"https://repo.anaconda.com/{channel.replace('defaults', 'pkgs/main')}"
    return f"{mirrors.conda}/{channel}"


def url_problems(box: Box, found: Found) -> list[str]:
    """Every URL that is about to be fetched from must answer; nothing is asked when nothing is."""
    needed = {**apt_urls(box, found), **hub_urls(box, found), **conda_urls(box, found)}
    needed |= gpu_problems.urls(box, found.gpu)
    if not needed:
        return []
    problems = host.get_fact(UrlProblems, urls=sorted(needed), ca=certificates(box))
    return [
        f"{url} does not answer from the box ({reason}): see {needed[url]}."
        for url, reason in problems.items()
    ]


def apt_urls(box: Box, found: Found) -> dict[str, str]:
    """Where missing packages of the system come from, and what says so."""
    if not ask(MissingPackages, packages=box.packages):
        return {}
    if box.mirrors.apt:
        return {f"{box.mirrors.apt}/dists/{found.system['codename']}/Release": "Mirrors.apt"}
    repositories = host.get_fact(AptRepositories)
    return dict.fromkeys(repositories, "the box's apt sources")


def hub_urls(box: Box, found: Found) -> dict[str, str]:
    """Where the packages of a hub release and of pip come from, and what says so."""
    needed = {}
    if found.lacks_hub(box):
        needed[f"{box.mirrors.npm}/configurable-http-proxy"] = "Mirrors.npm"
    if found.lacks_hub(box) or any(
        e.uses_python_index and found.lacks(e, box) for e in box.environments
    ):
        needed[f"{box.mirrors.python}/"] = "Mirrors.python"
    return needed


def conda_urls(box: Box, found: Found) -> dict[str, str]:
    """Where conda and the environments' packages come from, and what says so."""
    needed = {}
    installers = {str(known): script.url for known, script in box.conda.installers.items()}
    installer = installers.get(found.system["architecture"])
    if not found.conda["installed"] and box.conda.source == "installer" and installer:
        needed[installer] = "Conda.installers"
    for environment in (e for e in box.environments if found.lacks(e, box)):
        if environment.lock:
            # One of them speaks for the rest: they are of one place, and may be hundreds.
            url = environment.locked_urls(box.mirrors.conda)[0].partition("#")[0]
            needed[url] = f"the lock of {environment.name}"
            continue
        for channel in environment.channels or box.conda.channels:
            url = channel_url(channel, box.mirrors)
            needed[f"{url}/noarch/repodata.json"] = "Mirrors.conda and channels"
    return needed
