"""A fresh deploy, layer by layer; the article's own commands; and the floor below both."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.boxes import Failed, Settings, Step, conda_of, fresh, operator, settings_of
from bench.figures import Figure, Runs
from jupyterbox.demo.machine import Machine
from jupyterbox.settings import Box
from tests.box import article

PART = "fresh"
FLOOR = Path(__file__).with_name("floor.sh")
PARTS = {
    # Our layers that are the article's hub and proxy, and what they are called beside it.
    "Preflight": "- preflight",
    "Packages": "- the system's packages",
    "Hub release": "- the hub's release",
    "Hub service": "- configuration and units",
    "Health": "- until it answers",
}
DEFAULT = "the default environment"
SIDE_BY_SIDE = "Build releases side by side"
HUB = "hub and proxy"
ARTICLES = {
    # The layers that the article's steps are of, by the beginning of what the script calls them.
    "Setup JupyterHub": HUB,
    "The proxy": HUB,
    "Create the configuration": HUB,
    "Setup Systemd": HUB,
    "Conda environments": "conda",
    "Install a default conda": DEFAULT,
}
WHOLE = "everything"
OURS_OF_IT = {
    # Of a whole deploy: the layers that take longer than a breath.
    "Packages": "- base packages, authorities",
    "Conda": "- conda",
    SIDE_BY_SIDE: "- the releases of hub and environments, side by side",
}
MIRROR = "MIRROR"
CREATE = "/opt/conda/bin/conda create --quiet --yes --override-channels --channel conda-forge"


def measure(name: str, release: str, runs: int) -> tuple[str, list[Figure]]:
    """Measure all three, each run on boxes of their own.

    Args:
        name: of the boxes that are made for it, one after the other.
        release: of Debian or Ubuntu.
        runs: of each.

    Returns:
        Which conda the boxes had, and the figures.
    """
    found, conda = Runs(PART), ""
    lists: dict[str, str] = {}
    for _ in range(runs):
        with fresh(name, release) as machine:
            ours(machine, found)
            lists = explicit_lists(machine, settings_of(machine))
            conda = conda_of(machine)
        with fresh(name, release) as machine:
            hub_alone(machine, found)
        with fresh(name, release) as machine:
            by_the_article(machine, found)
        for what, argument in ((HUB, "hub"), (WHOLE, "")):
            with fresh(name, release) as machine:
                found.add(what, "floor", "s", floor(machine, lists, argument))
    return conda, found.figures()


def ours(machine: Machine, found: Runs) -> None:
    """A deploy of everything to a bare box."""
    with operator() as somebody:
        seconds, steps = somebody.steps({machine.name: (machine, settings_of(machine))})
    found.add(WHOLE, "jupyterbox", "s", seconds)
    found.add(WHOLE, "jupyterbox", "remote commands", sum(step.commands for step in steps))
    for layer, of_it in layers(steps, OURS_OF_IT).items():
        found.add(layer, "jupyterbox", "s", of_it)


def hub_alone(machine: Machine, found: Runs) -> None:
    """A deploy to a box on which somebody has made the environment already, by conda.

    It trusts the site's authorities, too, as the box of the article's commands does.
    """
    article.trust(machine)
    settings = settings_of(machine)
    settings["environments"] = settings["environments"][:1]
    by_hand(machine, settings)
    with operator() as somebody:
        _, steps = somebody.steps({machine.name: (machine, settings)})
    of_hub = layers(steps, PARTS)
    found.add(HUB, "jupyterbox", "s", sum(of_hub.values()))
    for layer, of_it in of_hub.items():
        found.add(layer, "jupyterbox", "s", of_it)


def by_hand(machine: Machine, settings: Settings) -> None:
    """Install conda and make the first environment, as the article has people do."""
    box, path = Box(**settings), machine.root / "root/conda.sh"
    [environment] = box.environments
    download(box.conda.installers["amd64"].url, path)
    specs = " ".join(shlex.quote(spec) for spec in environment.conda)
    machine.run("bash /root/conda.sh -b -p /opt/conda && rm /root/conda.sh", check=True)
    machine.run(
        f"CONDA_CHANNEL_ALIAS={shlex.quote(box.mirrors.conda)} {CREATE} "
        f"--prefix /opt/conda/envs/{environment.name} {specs}",
        check=True,
    )


def download(url: str, path: Path) -> None:
    """Fetch a file to this machine, which is in reach of everything that its boxes are."""
    with urllib.request.urlopen(url) as answer, path.open("wb") as file:
        shutil.copyfileobj(answer, file)


def layers(steps: Sequence[Step], names: Mapping[str, str]) -> dict[str, float]:
    """The seconds of a deploy by some of its layers, under other names."""
    found = dict.fromkeys(names.values(), 0.0)
    for step in steps:
        if (name := re.split(r" \||[:,]", step.name)[0]) in names:
            found[names[name]] += step.seconds
    return found


def by_the_article(machine: Machine, found: Runs) -> None:
    """The article's commands on a bare box that trusts this site's authorities already."""
    article.trust(machine)
    command = article.command(machine, environment="stats")
    spent = followed(machine, command, article.ARTICLE.read_text())
    by_layer: dict[str, float] = {}
    for step, seconds in spent.items():
        layer = next(name for start, name in ARTICLES.items() if step.startswith(start))
        by_layer[layer] = by_layer.get(layer, 0.0) + seconds
    for layer, seconds in by_layer.items():
        found.add(layer, "article", "s", seconds)


def followed(machine: Machine, command: str, script: str) -> dict[str, float]:
    """Run a script on a box that says `=== STEP` as it goes: the seconds of each step.

    Raises:
        Failed: it did.
    """
    process = subprocess.Popen(
        [*machine.ssh_command(), "--", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin and process.stdout
    process.stdin.write(script)
    process.stdin.close()
    spent: dict[str, float] = {}
    step, since, said = "", time.monotonic(), ""
    for line in process.stdout:
        said += line
        if line.startswith("=== "):
            spent[step] = time.monotonic() - since
            step, since = line[4:].strip(), time.monotonic()
    if process.wait():
        raise Failed(said[-4000:])
    spent[step] = time.monotonic() - since
    del spent[""]
    return spent


def explicit_lists(machine: Machine, settings: Settings) -> dict[str, str]:
    """The packages of a deployed box's environments, as @EXPLICIT files by their names.

    Another box may have another mirror, which stands for `MIRROR` there.
    """
    lists = {}
    for environment in settings["environments"]:
        path = f"/opt/conda/envs/{environment['name']}/release.json"
        record = json.loads(machine.run(f"cat {path}", check=True).stdout)
        urls = [f"{package['url']}#{package['md5']}" for package in record["packages"]]
        urls = [url.replace(record["mirror"], MIRROR, 1) for url in urls]
        lists[environment["name"]] = "\n".join(["@EXPLICIT", *urls, ""])
    return lists


def floor(machine: Machine, lists: Mapping[str, str], argument: str) -> float:
    """The seconds that the floor takes on a bare box."""
    article.trust(machine)
    box = Box(**settings_of(machine))
    there = machine.root / "root/floor"
    there.mkdir()
    for name in ("requirements.txt", "package.json", "package-lock.json"):
        (there / name).write_text(box.hub.lock_file(name))
    for name, text in lists.items():
        (there / f"{name}.txt").write_text(text.replace(MIRROR, box.mirrors.conda))
    variables = {
        "PYTHON_INDEX": box.mirrors.python,
        "NPM": box.mirrors.npm,
        "CONDA_INSTALLER": box.conda.installers["amd64"].url,
        "PACKAGES": " ".join(box.packages),
    }
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    return seconds_of(
        lambda: machine.run(f"{given} bash -s {argument}", input=FLOOR.read_text()),
    )


def seconds_of(run: Callable[[], subprocess.CompletedProcess[str]]) -> float:
    """How long a command takes on a box.

    Raises:
        Failed: it did.
    """
    started = time.monotonic()
    done = run()
    if done.returncode:
        raise Failed((done.stdout + done.stderr)[-4000:])
    return time.monotonic() - started
