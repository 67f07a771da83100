"""What boxes answered, for people: a page each, with what is wrong on top."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from io import TextIOWrapper
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from jupyterbox.asking import Answers

if TYPE_CHECKING:
    from facts.box import Disk, FailedUnit, Gpu, SystemAnswer, Updates
    from facts.conda import CondaAnswer, CondaEnvsAnswer, UserCondaEnvsAnswer, UserEnvironment
    from facts.gpu import CondaCudaAnswer, CudaEnvironment, Driver, GpuUse
    from facts.gpu import Gpu as NvidiaGpu
    from facts.hub import Activity, HubRelease, HubState, Versions
    from facts.jupyter import KernelspecRow, KernelspecsAnswer
    from facts.problem import Problem

NOTHING = "-"
VERSIONS = {
    "hub": "JupyterHub",
    "lab": "JupyterLab",
    "spawner": "SystemdSpawner",
    "proxy": "configurable-http-proxy",
    "node": "Node",
    "python": "Python",
}
GOOD, BAD = "green", "red"


def as_json(boxes: dict[str, Answers]) -> str:
    """The same for programs: of each box its problems, and every fact's answer as it is."""
    shown = {name: {"problems": box.problems, **box.facts} for name, box in boxes.items()}
    return json.dumps(shown, indent=2)


def show(boxes: dict[str, Answers]) -> None:
    """Print a page for each box, as wide as the terminal."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Names may have letters that the terminal has not.
        sys.stdout.reconfigure(errors="backslashreplace")
    console = Console(highlight=False, markup=False, emoji=False)
    for name, answers in boxes.items():
        console.print(*page(name, answers), sep="\n")


def page(name: str, answers: Answers) -> Iterator[RenderableType]:
    """What a person reads of one box."""
    yield Rule(text(name, "bold"), align="left", style="dim")
    yield from problems(answers.problems)
    for subject, section in SECTIONS.items():
        # What did not answer is among the problems.
        if answers.facts[subject] is not None:
            yield from section(answers.facts[subject])
    yield ""


def plain(value: object) -> str:
    """A value for a terminal: what it would act on, and what is not seen, is written out.

    Users choose the names of kernels and units: `\\x1b` begins a command to the terminal.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(value)
    )


def text(value: object, style: str = "") -> Text:
    """A value as it is, brackets included."""
    return Text(NOTHING if value in (None, "") else plain(value), style)


def moment(when: str | None) -> Text:
    """A time, to the minute."""
    return text(when and when[:16].replace("T", " "))


def heading(title: str) -> RenderableType:
    """What the lines below are about."""
    return Text(f"\n{title}", "bold")


def indented(what: RenderableType) -> RenderableType:
    """Below its heading."""
    return Padding(what, (0, 0, 0, 2), expand=False)


def lines(*pairs: tuple[str, RenderableType | None]) -> RenderableType:
    """Names with their values; those that have none are left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None:
            grid.add_row(text(name), value)
    return indented(grid)


def absent() -> RenderableType:
    """What stands where there is nothing."""
    return indented(Text("There is none."))


def table(columns: Iterable[str], rows: Iterable[Iterable[RenderableType]]) -> RenderableType:
    """Rows below the names of their columns."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in columns:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return indented(made)


def count(number: int, of: str) -> str:
    """`1 package`, `2 packages`."""
    return f"{number} {of}" if number == 1 else f"{number} {of}s"


def problems(found: list[Problem]) -> Iterator[RenderableType]:
    """What is wrong, each with its cure."""
    if not found:
        yield Text("No problems.", GOOD)
        return
    yield Text(f"{count(len(found), 'problem')}:", BAD)
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(style=BAD)
    grid.add_column(overflow="fold")
    for problem in found:
        grid.add_row("!", text(problem["problem"], "bold"))
        grid.add_row("", text(problem["cure"]))
    yield indented(grid)


def system(answer: SystemAnswer) -> Iterator[RenderableType]:
    """The box as a whole."""
    memory, wait, skipped = answer["memory"], answer["reboot_pending"], {**answer["skipped"]}
    yield heading("System")
    if not answer["kernel"]:
        yield indented(Text("Nothing is known of it: it has no Python."))
        return
    yield lines(
        ("system", text(f"{answer['os']['name']}, Linux {answer['kernel']}")),
        ("up", text(duration(answer["uptime_seconds"]))),
        ("cores", text(f"{answer['cores']}, load {' '.join(map(str, answer['load']))}")),
        ("memory", text(f"{size(memory['available_mb'])} free of {size(memory['total_mb'])}")),
        ("GPUs", gpus(answer["gpus"])),
        ("clock", Text("not synchronized", BAD) if answer["clock_synchronized"] is False else None),
        ("failed units", failed(answer["failed_units"], skipped.pop("failed_units", ""))),
        ("updates", updates(answer["updates"], skipped.pop("updates", ""))),
        ("reboot", text(f"pending: {', '.join(wait)}", BAD) if wait else Text("not pending")),
        *((name, text(why)) for name, why in skipped.items()),
    )
    yield Text()
    yield disks(answer["disks"])


def disks(found: list[Disk]) -> RenderableType:
    """File systems, and what is free there."""
    return table(
        ("disk", "size", "free", "inodes free"),
        (
            (
                text(disk["mount"]),
                size(disk["size_mb"]),
                size(disk["free_mb"]),
                share(disk["inodes_free"], disk["inodes"]),
            )
            for disk in found
        ),
    )


def duration(seconds: int) -> str:
    """A time in its largest unit."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return count(seconds // length, unit)
    return count(seconds, "second")


def size(mb: int | None) -> Text:
    """So many MB."""
    if mb is None:
        return Text(NOTHING)
    return Text(f"{mb} MB" if mb < 1024 else f"{mb / 1024:.1f} GB")


def share(part: int | None, whole: int | None) -> Text:
    """A part of something, as a percentage."""
    return Text(NOTHING if part is None or not whole else f"{100 * part // whole} %")


def gpus(found: list[Gpu]) -> Text:
    """Graphics processors by model, with their driver."""
    shown = (
        f"{gpu['model'] or gpu['vendor']} ({gpu['driver'] or 'no driver'}"
        f"{' ' + gpu['driver_version'] if gpu['driver_version'] else ''})"
        for gpu in found
    )
    return text(", ".join(shown) or "none")


def failed(units: list[FailedUnit] | None, why_not: str) -> Text:
    """The units that have failed, or why nobody can tell."""
    if units is None:
        return text(f"unknown: {why_not}")
    return text(", ".join(unit["unit"] for unit in units) or "none", BAD if units else "")


def updates(found: Updates, why_not: str) -> Text:
    """How many security updates wait, or why nobody can tell."""
    if found["security"] is None:
        return text(f"unknown: {why_not}")
    waiting = count(len(found["security"]), "security update")
    return text(f"{waiting}, as of ") + moment(found["asked_at"])


def driver(answer: Driver) -> Iterator[RenderableType]:
    """NVIDIA's driver, where there is a GPU of theirs."""
    state, flags, evidence = answer["state"], answer["flags"], answer["evidence"]
    if state == "no_hardware":
        return
    kind = f", {answer['kind']}" if answer["kind"] else ""
    good = state in ("healthy", "passthrough")
    yield heading("GPU driver")
    yield lines(
        ("state", text(f"{state}{kind}".replace("_", " "), GOOD if good else BAD)),
        ("module", _module(answer)),
        ("libraries", text(evidence["userspace"])),
        ("from", text(flags["source"])),
        ("upgrades", _upgrades(answer)),
        ("next boot", Text("breaks it", BAD) if flags["next_boot_broken"] else None),
    )


def _module(answer: Driver) -> Text:
    """The driver's module: which, and whether it runs."""
    evidence = answer["evidence"]
    version = evidence["loaded"] or evidence["on_disk"]
    if not version:
        return text(None)
    flavour = f" ({evidence['flavour']})" if evidence["flavour"] else ""
    return text(f"{version}{flavour}{'' if evidence['loaded'] else ', not loaded'}")


def _upgrades(answer: Driver) -> Text | None:
    """Whether an upgrade can split the driver; nothing where none is installed."""
    flags = answer["flags"]
    if not answer["evidence"]["userspace"]:
        return None
    if flags["unguarded"]:
        return Text("may split it", BAD)
    return Text("held" if flags["held"] else "not by unattended-upgrades")


def gpu_use(answer: GpuUse) -> Iterator[RenderableType]:
    """What the GPUs do, as far as they were asked."""
    if not answer["gpus"]:
        return
    yield heading("GPUs")
    yield table(
        ("GPU", "model", "memory used", "use", "temperature", "computes"),
        (
            (
                text(gpu["address"] if gpu["index"] is None else gpu["index"]),
                _model(gpu),
                _memory(gpu),
                _unit(gpu["utilization_percent"], "%"),
                _unit(gpu["temperature_c"], "°C"),
                _computes(gpu),
            )
            for gpu in answer["gpus"]
        ),
    )


def _model(gpu: NvidiaGpu) -> Text:
    """What a GPU is called, and what is special about it."""
    if gpu["lost"]:
        return text(gpu["model"]) + Text(", lost", BAD)
    parts = count(len(gpu["instances"]), "instance")
    return text(gpu["model"]) + Text(f", {parts} of MIG" if gpu["mig"] else "")


def _memory(gpu: NvidiaGpu) -> Text:
    """How much of a GPU's memory is used."""
    if gpu["memory_mb"] is None:
        return text(None)
    return size(gpu["memory_used_mb"]) + Text(" of ") + size(gpu["memory_mb"])


def _unit(value: int | None, unit: str) -> Text:
    """A number with what it counts."""
    return Text(NOTHING if value is None else f"{value} {unit}")


def _computes(gpu: NvidiaGpu) -> Text:
    """Who computes on a GPU, with the memory that they have there."""
    of: dict[str, int] = {}
    for process in gpu["processes"]:
        who = process["user"] or f"process {process['pid']}"
        of[who] = of.get(who, 0) + (process["memory_mb"] or 0)
    return text(", ".join(f"{who} ({memory} MB)" for who, memory in of.items()))


def cuda(answer: CondaCudaAnswer) -> Iterator[RenderableType]:
    """Which environments can compute on the GPUs, where there are some."""
    if not answer["gpus"] or not answer["environments"]:
        return
    yield heading("CUDA")
    yield table(
        ("environment", "CUDA", "computes on the GPUs"),
        (
            (text(name), text(environment["cuda"]), _sees(environment))
            for name, environment in answer["environments"].items()
        ),
    )


def _sees(environment: CudaEnvironment) -> Text:
    """Whether the kernels of an environment can use the GPUs, or why not."""
    served, why = environment["served"], environment["why"]
    if served is None:
        return text(why)
    return Text("yes", GOOD) if served else text(f"no: {why}", BAD)


def hub(answer: HubState) -> Iterator[RenderableType]:
    """The hub's release and units."""
    yield heading("Hub")
    current = answer["releases"].get(answer["current"] or "")
    if current is None and not any(unit["exists"] for unit in answer["units"].values()):
        yield absent()
        return
    if current is not None:
        kept = [release for release in answer["releases"] if release != answer["current"]]
        yield lines(
            ("release", text(answer["current"])),
            ("built", built(current)),
            ("versions", versions(current["versions"])),
            ("kept releases", text(", ".join(kept)) if kept else None),
        )
        yield Text()
    yield table(
        ("unit", "state", "since (UTC)", "restart"),
        (
            (
                text(name),
                text(unit["state"], GOOD if unit["active"] else BAD),
                moment(unit["since"]),
                Text("needed", BAD) if unit["restart"] else Text(NOTHING),
            )
            for name, unit in answer["units"].items()
        ),
    )


def built(release: HubRelease) -> Text:
    """When a release was built, and by what."""
    by = f" by {release['by']}" if release["by"] else ""
    return moment(release["built"]) + text(by) if by else moment(release["built"])


def versions(found: Versions) -> Text:
    """What a release is made of."""
    return text(
        ", ".join(f"{VERSIONS[key]} {version}" for key, version in found.items() if version)
    )


def servers(answer: Activity) -> Iterator[RenderableType]:
    """The servers that run, and what they use."""
    if not answer["servers"]:
        return
    yield heading("Servers")
    yield table(
        ("user", "since (UTC)", "active (UTC)", "memory", "CPU", "kernels"),
        (
            (
                text("/".join(filter(None, (server["user"], server["name"])))),
                moment(server["since"]),
                moment(server["last_activity"]),
                size(server["memory_mb"]),
                text(f"{server['cpu_percent'] or 0:.0f} %"),
                running(server["kernels"]),
            )
            for server in answer["servers"]
        ),
    )


def running(prefixes: list[str]) -> Text:
    """How many kernels run, by their environments."""
    of = Counter(environment_of(PurePosixPath(prefix)) for prefix in prefixes)
    return text(", ".join(f"{number} {name}" for name, number in of.items()))


def environment_of(prefix: PurePosixPath) -> str:
    """What the environment with this prefix is called."""
    return prefix.parent.name if prefix.parent.parent.name == "releases" else prefix.name


def conda(answer: CondaAnswer) -> Iterator[RenderableType]:
    """Conda itself."""
    yield heading("Conda")
    if answer["root"] is None:
        yield absent()
        return
    channels = ", ".join(channel["name"] for channel in answer["channels"])
    yield lines(
        ("root", text(answer["root"])),
        ("version", text(answer["version"])),
        ("solver", text(answer["solver"])),
        ("installed by", text(answer["source"])),
        ("channels", text(channels)),
    )


def environments(answer: CondaEnvsAnswer) -> Iterator[RenderableType]:
    """The global environments."""
    if not answer["environments"]:
        return
    yield heading("Environments")
    yield table(
        ("name", "Python", "packages", "release", "changed (UTC)", "drift"),
        (
            (
                text(name, BAD if environment["problems"] else ""),
                text(environment["python"]),
                packages(environment["packages"], environment["from_pip"]),
                text(environment["release"]),
                moment(environment["changed"] or environment["built"]),
                drift(len(environment["drift"])),
            )
            for name, environment in answer["environments"].items()
        ),
    )


def packages(number: int, from_pip: int) -> Text:
    """How many packages, and how many of them are pip's."""
    return Text(f"{number} ({from_pip} pip)" if from_pip else f"{number}")


def drift(number: int) -> Text:
    """How many packages were changed by hand."""
    return Text(f"{number}", BAD) if number else Text(NOTHING)


def private_environments(answer: UserCondaEnvsAnswer) -> Iterator[RenderableType]:
    """Users' own environments, by account."""
    of: dict[str, list[UserEnvironment]] = {}
    for environment in answer["environments"]:
        of.setdefault(environment["user"], []).append(environment)
    if not of:
        return
    yield heading("Private environments")
    yield table(
        ("account", "environments", "packages"),
        (
            (
                text(user),
                Text(", ").join(private_environment(one) for one in some),
                Text(f"{sum(one['packages'] for one in some)}"),
            )
            for user, some in of.items()
        ),
    )


def private_environment(environment: UserEnvironment) -> Text:
    """One, in a few words."""
    python = environment["python"]
    what = f"{environment['name']} ({python})" if python else environment["name"]
    return text(what, BAD if environment["problems"] else "")


def kernels(answer: KernelspecsAnswer) -> Iterator[RenderableType]:
    """The global kernels and those that cannot start; users' own that can are counted."""
    found = answer["kernelspecs"]
    shown = [row for row in found if row["user"] is None or row["problem"]]
    if not found:
        return
    yield heading("Kernels")
    yield table(
        ("name", "title", "for", "environment", "starts"),
        (
            (
                text(row["name"]),
                text(row["title"]),
                text(row["user"] or "everybody"),
                text(row["environment"] or row["prefix"] or row["interpreter"]),
                starts(row),
            )
            for row in shown
        ),
    )
    if more := len(found) - len(shown):
        yield Text(f"  and {count(more, 'kernel')} of users' own that can start")


def starts(row: KernelspecRow) -> Text:
    """Whether a kernel starts, or why not."""
    if row["problem"]:
        return text(row["problem"], BAD)
    if row["shadowed_by"]:
        return text(f"no, shadowed by {row['shadowed_by']}")
    return Text("yes", GOOD)


SECTIONS: dict[str, Callable[[Any], Iterator[RenderableType]]] = {
    "system": system,
    "driver": driver,
    "gpus": gpu_use,
    "cuda": cuda,
    "hub": hub,
    "activity": servers,
    "conda": conda,
    "environments": environments,
    "kernels": kernels,
    "private_environments": private_environments,
}
"""What is shown of each subject, in this order."""
