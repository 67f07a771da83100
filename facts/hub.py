"""What a hub is: its releases, its secrets, its units, whether it answers."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import NotRequired, TypedDict

from facts.by_hand import HubByHand
from facts.conda import Drift
from facts.problem import Problem
from jupyterbox import layout
from jupyterbox.program import answer, question


class Versions(TypedDict):
    """What a release is made of; `None` for what is not in it."""

    hub: str | None
    lab: str | None
    spawner: str | None
    proxy: str | None
    node: str | None
    python: str | None


class HubRelease(TypedDict):
    """A complete release: what is installed in it, and by hand otherwise than it was built.

    `declared` is the release that its settings ask for, another one where an upgrade has built it;
    `proxy` is the digest of its node and configurable-http-proxy, `by` the version of this project
    that built it.
    """

    declared: str
    proxy: str | None
    built: str | None
    by: str | None
    versions: Versions
    drift: list[Drift]


class _Unit(TypedDict):
    exists: bool
    enabled: bool
    active: bool
    state: str
    since: str | None
    result: str
    restarts: int
    failing: bool
    errors: list[str]
    reload: bool
    runs_from: str | None
    newer: list[str]


class Unit(_Unit):
    """A unit; `restart` says why it needs one, nothing where it does not.

    `restarts` counts those by systemd on its own; a unit is `failing` that does not run or keeps
    ending, and `errors` are the last ones in its journal then. `newer` names what it reads and has
    not read yet, `reload` says that of its unit file; `runs_from` is the release that it runs.
    """

    restart: list[str]


class ConfigurationError(TypedDict):
    """Something in the hub's configuration that it cannot read, or does not recognize."""

    file: str | None
    line: int | None
    error: str


class _Told(TypedDict):
    by_hand: NotRequired[HubByHand]
    python: str | None
    current: str | None
    previous: str | None
    switching: str | None
    releases: dict[str, HubRelease]
    surplus: list[str]
    broken: dict[str, str]
    secrets: list[str]
    open: dict[str, str]
    files: dict[str, str]
    configuration: list[ConfigurationError]


class _HubState(_Told):
    units: dict[str, _Unit]


class HubState(_Told):
    """The hub, in one answer: what the deploy decides on, and what people ask.

    `python` is the system's, which a release is built on; `previous` was current before `current`
    (where a rollback was interrupted, it is where that was going), and `switching` is where a
    switch has started from that was not seen to its end. The releases are in the order of their
    last use; `surplus` names what a deploy removes of them, where that is asked for; `broken` says
    of directories of releases why they are of no use. `secrets` are the files that are there and
    closed to everybody but root, `open` the modes of those that are not; `files` has the sha256 of
    what the units read. `by_hand` is a hub that was made by hand, which a deploy takes over; most
    boxes have none.
    """

    units: dict[str, Unit]
    problems: list[Problem]


class Hub(FactBase[HubState]):
    """The hub's releases, secrets, units and configuration. Needs root.

    ```
    {
        "python": "3.13",
        "current": "3a94…",
        "previous": None,
        "switching": None,
        "releases": {
            "3a94…": {
                "declared": "3a94…", "proxy": "77c1…",
                "built": "2026-11-23T14:55:27+00:00", "by": "jupyterbox 0.1.0",
                "versions": {"hub": "6.1.1", "lab": "4.6.6", "spawner": "1.0.2",
                             "proxy": "5.3.0", "node": "24.19.0", "python": "3.13.5"},
                "drift": [],
            },
        },
        "surplus": [],
        "broken": {},
        "secrets": ["proxy.env", "cookie_secret"],
        "open": {},
        "units": {
            "jupyterhub.service": {
                "exists": True, "enabled": True, "active": True, "state": "active (running)",
                "since": "2026-11-23T16:21:52+00:00", "result": "success", "restarts": 0,
                "failing": False, "errors": [], "reload": False, "runs_from": "3a94…",
                "newer": ["/etc/systemd/system/jupyterhub.service.d"],
                "restart": ["/etc/systemd/system/jupyterhub.service.d is newer than its process"],
            },
            …
        },
        "files": {"/etc/systemd/system/jupyterhub.service": "e1c9…", …},
        "configuration": [],
        "problems": [{"problem": "jupyterhub.service needs a restart: …", "cure": "…"}],
    }
    ```

    On a box that has no hub it needs no root: there is nothing to hide.

    Args:
        keep: how many releases stay on the box; with this, `surplus` says which do not.
        wanted: the release that is about to be current, for that.
    """

    def command(self, keep: int | None = None, wanted: str | None = None) -> StringCommand:
        return question(
            "hub_state",
            root=layout.ROOT,
            state_dir=layout.STATE,
            secrets=[layout.PROXY_ENVIRONMENT, layout.COOKIE_SECRET],
            configuration=[layout.CONFIG, layout.CONFIG_D],
            reads=layout.READS,
            others=[layout.PAM_FILE],
            keep=keep,
            wanted=wanted,
        )

    @staticmethod
    def default() -> HubState:
        return {
            "python": None,
            "current": None,
            "previous": None,
            "switching": None,
            "releases": {},
            "surplus": [],
            "broken": {},
            "secrets": [],
            "open": {},
            "units": {},
            "files": {},
            "configuration": [],
            "problems": [],
        }

    def process(self, output: list[str]) -> HubState:
        found = answer(output, _HubState)
        units: dict[str, Unit] = {
            name: {**unit, "restart": list(_restart(name, unit, found))}
            for name, unit in found["units"].items()
        }
        hub: HubState = {**found, "units": units, "problems": []}
        hub["problems"] = list(_problems(hub))
        return hub


def _restart(name: str, unit: _Unit, hub: _HubState) -> Iterator[str]:
    """Why a unit that runs needs a restart, by the same rules as operations.hub.running."""
    if not unit["active"]:
        return
    other = _other_release(name, unit["runs_from"], hub)
    if other:
        yield other
    for path in unit["newer"]:
        if not (other and path == layout.CURRENT):
            yield f"{path} is newer than its process"
    if unit["reload"]:
        yield "systemd has not read its unit file since that changed"


def _other_release(name: str, running: str | None, hub: _HubState) -> str | None:
    """What it runs of another release than the current one, as far as that calls for a restart."""
    current = hub["releases"].get(hub["current"] or "")
    if not current or running == hub["current"]:
        return None
    if name == layout.PROXY_UNIT:
        release = hub["releases"].get(running or "")
        if release and release["proxy"] == current["proxy"]:
            return None
        return f"it runs another node and proxy than those of release {hub['current']}"
    return f"it runs release {running}, and {hub['current']} is current" if running else None


def _problems(hub: HubState) -> Iterator[Problem]:
    """What is wrong with the hub; nothing where there is none."""
    units = hub["units"].values()
    if hub["releases"] or hub["broken"] or hub["current"] or any(u["exists"] for u in units):
        yield from _release_problems(hub)
        for name, unit in hub["units"].items():
            yield from _unit_problems(name, unit)
        yield from _configuration_problems(hub["configuration"])
        yield from _secret_problems(hub)


def _release_problems(hub: HubState) -> Iterator[Problem]:
    """What is wrong with the releases, and with the link to the current one."""
    path = f"{layout.RELEASES}/{hub['current']}"
    if not hub["current"]:
        yield {"problem": f"{layout.CURRENT} is no link to a release.", "cure": "Deploy again."}
    elif hub["current"] not in hub["releases"] and path not in hub["broken"]:
        problem = f"{layout.CURRENT} names release {hub['current']}, which is not there."
        yield {"problem": problem, "cure": "Deploy again: the declared release is built."}
    if hub["switching"]:
        problem = f"a switch of the hub from release {hub['switching']} was not seen to its end."
        yield {"problem": problem, "cure": "Deploy again: it is made again, or taken back."}
    for path, reason in hub["broken"].items():
        cure = "Deploy again: the declared release is built anew. If this one stays as it is, "
        cure += f"remove {path} when nothing runs from it, and deploy."
        yield {"problem": f"{path} {reason}.", "cure": cure}
    for identity, release in hub["releases"].items():
        if release["drift"]:
            changes = ", ".join(map(_change, release["drift"]))
            pip = f"{layout.RELEASES}/{identity}/bin/python -m pip"
            yield {
                "problem": f"release {identity} has drifted: {changes}.",
                "cure": f"Undo it with `{pip}`; what shall stay goes into the lock.",
            }


def _change(drift: Drift) -> str:
    """What was done to a package by hand."""
    package, was, now = drift["package"], drift["was"], drift["now"]
    if was is None:
        return f"{package} {now} was added"
    return f"{package} {was} became {now}" if now else f"{package} {was} was removed"


def _unit_problems(name: str, unit: Unit) -> Iterator[Problem]:
    """What is wrong with a unit."""
    if not unit["exists"]:
        yield _missing_unit(name, unit["state"])
        return
    if unit["failing"]:
        said = f": {unit['errors'][-1]}" if unit["errors"] else ""
        cure = f"Deploy again, or `systemctl start {name}`."
        if unit["errors"] or unit["result"] != "success":
            cure = f"See `journalctl -u {name}`, mend what it says, and deploy again."
        yield {"problem": f"{name} {_condition(unit)}{said}.", "cure": cure}
    if not unit["enabled"]:
        problem = f"{name} is not enabled: it does not start when the box boots."
        yield {"problem": problem, "cure": f"Deploy again, or `systemctl enable {name}`."}
    if unit["restart"]:
        command = f"systemctl restart {name}"
        if unit["reload"]:
            command = f"systemctl daemon-reload && {command}"
        browsers = ", and browsers connect again" if name == layout.PROXY_UNIT else ""
        yield {
            "problem": f"{name} needs a restart: {', '.join(unit['restart'])}.",
            "cure": f"Deploy again, or `{command}`: notebooks keep running{browsers}.",
        }


def _missing_unit(name: str, state: str) -> Problem:
    """A unit that systemd does not have, and why."""
    cure = "Deploy again: it is written and started."
    if state == "masked":
        cure = f"`systemctl unmask {name}`, and deploy again."
    elif state == "unknown":
        cure = "See whether `systemctl status` answers."
    return {"problem": f"systemd does not have {name}: {state}.", "cure": cure}


def _condition(unit: Unit) -> str:
    """A unit's state, what it came by it, and since when."""
    condition = f"is {unit['state']}"
    if unit["since"]:
        condition += f" since {unit['since']}"
    if unit["result"] != "success":
        condition += f", result {unit['result']}"
    if unit["restarts"]:
        condition += f", after {unit['restarts']} restart(s) by systemd"
    return condition


def _configuration_problems(errors: list[ConfigurationError]) -> Iterator[Problem]:
    """What is wrong with the configuration."""
    for error in errors:
        where = error["file"] or "the hub's configuration"
        cure = "Correct it, and deploy again."
        if error["file"] == layout.CONFIG:
            cure = "Deploy again; correct Hub(extra_config=...) first if it comes from there."
        line = f", line {error['line']}" if error["line"] else ""
        yield {"problem": f"{where}{line}: {error['error']}.", "cure": cure}


def _secret_problems(hub: HubState) -> Iterator[Problem]:
    """What others can read, and secrets that are not there."""
    for path, mode in hub["open"].items():
        problem = f"{path} is open to others than root: its mode is {mode}."
        yield {"problem": problem, "cure": "Deploy again: that closes it."}
    for path in (layout.PROXY_ENVIRONMENT, layout.COOKIE_SECRET):
        if path.rpartition("/")[2] not in hub["secrets"] and path not in hub["open"]:
            yield {"problem": f"{path} is not there.", "cure": "Deploy again: it is made."}


class HubUser(TypedDict):
    """A user that the hub has seen."""

    admin: bool
    last_activity: str | None


class Server(TypedDict):
    """A user's server; `known` says whether the hub knows it, `None` where nobody can say.

    `since` is when its unit came to its `state`; `memory_from` and `cpu_from` name the file of the
    control group that says so, or `processes`, whose memory then is what they do not have of files.
    `cpu_percent` is of one core, over 0.2 s; `kernels` are the prefixes that they run from.
    """

    user: str
    name: str
    unit: str
    known: bool | None
    state: str
    result: str
    since: str | None
    last_activity: str | None
    memory_mb: int | None
    peak_mb: int | None
    memory_from: str | None
    cpu_seconds: float | None
    cpu_percent: float | None
    cpu_from: str | None
    processes: int
    kernels: list[str]


class Total(TypedDict):
    """What all servers use together."""

    servers: int
    kernels: int
    processes: int
    memory_mb: int
    cpu_seconds: float
    cpu_percent: float


class _Activity(TypedDict):
    users: dict[str, HubUser]
    servers: list[Server]
    unreadable: str | None


class Activity(TypedDict):
    """The users by name, their servers, and the sum of these."""

    users: dict[str, HubUser]
    servers: list[Server]
    total: Total
    problems: list[Problem]


class HubActivity(FactBase[Activity]):
    """Who uses the hub: its users, and what their servers use of the box. Needs root.

    ```
    {
        "users": {"ada": {"admin": False, "last_activity": "2026-11-23T16:26:36+00:00"}},
        "servers": [
            {"user": "ada", "name": "", "unit": "jupyter-ada-singleuser.service", "known": True,
             "state": "active (running)", "result": "success",
             "since": "2026-11-23T16:26:33+00:00", "last_activity": "2026-11-23T16:26:36+00:00",
             "memory_mb": 176, "peak_mb": 212, "memory_from": "memory.current",
             "cpu_seconds": 2.98, "cpu_percent": 0.4, "cpu_from": "cpu.stat", "processes": 2,
             "kernels": ["/opt/conda/releases/python3/7bb3…"]},
        ],
        "total": {"servers": 1, "kernels": 1, "processes": 2, "memory_mb": 176,
                  "cpu_seconds": 2.98, "cpu_percent": 0.4},
        "problems": [],
    }
    ```

    The hub's database is read beside the hub, which is not kept waiting; no token is looked at.
    On a box that has no hub it needs no root: there is nothing to hide.
    """

    def command(self) -> StringCommand:
        return question(
            "hub_activity",
            root=layout.ROOT,
            state_dir=layout.STATE,
            database=layout.DATABASE,
            units="jupyter-*-singleuser.service",
            cgroups="/sys/fs/cgroup",
        )

    @staticmethod
    def default() -> Activity:
        return {"users": {}, "servers": [], "total": _total([]), "problems": []}

    def process(self, output: list[str]) -> Activity:
        found = answer(output, _Activity)
        problems = [problem for server in found["servers"] for problem in _strays(server)]
        if found["unreadable"]:
            problems.insert(0, _unreadable(found["unreadable"]))
        return {
            "users": found["users"],
            "servers": found["servers"],
            "total": _total(found["servers"]),
            "problems": problems,
        }


def _total(servers: list[Server]) -> Total:
    """What some servers use together."""
    return {
        "servers": len(servers),
        "kernels": sum(len(server["kernels"]) for server in servers),
        "processes": sum(server["processes"] for server in servers),
        "memory_mb": sum(server["memory_mb"] or 0 for server in servers),
        "cpu_seconds": round(sum((server["cpu_seconds"] or 0 for server in servers), 0.0), 2),
        "cpu_percent": round(sum((server["cpu_percent"] or 0 for server in servers), 0.0), 1),
    }


def _strays(server: Server) -> Iterator[Problem]:
    """A unit without its hub, a server without its unit."""
    unit, user = server["unit"], server["user"]
    runs = server["state"].startswith("active")
    if runs and server["known"] is False:
        yield {
            "problem": f"{unit} runs, and the hub does not know it: nobody gets at it.",
            "cure": f"`systemctl stop {unit}`; the hub does so, too, when {user} starts a server.",
        }
    elif server["known"] and server["state"].startswith(("inactive", "failed", "not-found")):
        result = "" if server["result"] == "success" else f", result {server['result']}"
        yield {
            "problem": f"the hub believes that {user} has a server, and {unit} is not running "
            f"({server['state']}{result}).",
            "cure": "The hub finds out within a minute where it runs: "
            f"`systemctl start {layout.HUB_UNIT}`.",
        }


def _unreadable(reason: str) -> Problem:
    """The hub's database, which nobody can read."""
    cure = "Restore it from a backup, or stop the hub and move it away: users log in again then."
    if "is not there" in reason:
        cure = f"Deploy again, or `systemctl restart {layout.HUB_UNIT}`: the hub makes it."
    elif "readonly" in reason:
        cure = f"`systemctl start {layout.HUB_UNIT}`: the hub finishes what it was writing."
    elif "locked" in reason:
        cure = f"Ask again. If it stays so, see who holds it: `fuser {layout.DATABASE}`."
    return {"problem": f"{layout.DATABASE} {reason}.", "cure": cure}


class HubHealth(FactBase[bool]):
    """Whether the hub answers through the proxy.

    Args:
        url: its health page, as seen from the box.
    """

    def command(self, url: str) -> StringCommand:
        probe = question("wait_for_hub", url=url, units=[], timeout=0)
        return StringCommand(probe, ">/dev/null 2>&1 && echo yes || echo no")

    @staticmethod
    def default() -> bool:
        return False

    def process(self, output: list[str]) -> bool:
        return output[-1:] == ["yes"]
