"""Record what real boxes, and the uv that the lock pins, answer: python -m tests.record WHAT...

    bare      a fresh box of every supported release
    deployed  a box after the demo's deploy, and after things happened to its hub
    uv        uv's own errors; the network is asked for packages that are not there

The unit tests read the recordings under tests/recorded; after a fact or a program asks another
question, they are made anew. Boxes are the demo's (root, and about a minute each).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyinfra.api.command import StringCommand

from facts.conda import CondaReleases
from facts.hub import Hub
from facts.jupyter import PublishedKernelspecs
from facts.packages import AptRepositories, MissingPackages, Site
from facts.preflight import Access, Preflight
from facts.users import Accounts
from jupyterbox import layout
from jupyterbox.demo.conda import conda_mirror, stop_channel
from jupyterbox.demo.inventory import demo_settings
from jupyterbox.demo.machine import Machine
from jupyterbox.settings import BASE_PACKAGES, REPOSITORY
from operations.packages import ASIDE, MIRROR, PIP_CONF

RECORDED = REPOSITORY / "tests/recorded"
TOOLS = Path(sys.executable).parent

RELEASES = {
    "bookworm": "Debian 12",
    "trixie": "Debian 13",
    "jammy": "Ubuntu 22.04",
    "noble": "Ubuntu 24.04",
    "resolute": "Ubuntu 26.04",
}

PREFLIGHT = Preflight().command(
    paths=[layout.ROOT, "/opt/conda", layout.STATE], units=[layout.HUB_UNIT, layout.PROXY_UNIT]
)
SHOW = "systemctl show -p LoadState,UnitFileState,ActiveState,NeedDaemonReload,MainPID"

UV = {
    "no-such-package": ["no-such-package-jupyterbox-xyz"],
    "no-such-version": ["six==99"],
    "conflict": ["six==1.16.0", "six==1.15.0"],
    "constraint": ["--constraints", "constraints.txt", "six>=1.16"],
    "no-wheel": ["--no-build", "numpy==1.9.0"],
    "malformed-spec": ["six=1.16"],
    "option-in-spec": ["six --foo"],
    "index-refuses": ["--default-index", "http://127.0.0.1:9/simple", "six"],
    "index-unknown-host": ["--default-index", "http://no-such-host.invalid/simple", "six"],
    "url-refused": ["https://127.0.0.1:9/x-1.0-py3-none-any.whl"],
    "build-fails": ["pycurl==7.43.0.1"],
    "no-python": ["--python", "/nowhere/bin/python", "six"],
}


def write(name: str, where: str, text: str) -> None:
    """A recording, with a line that says where it comes from."""
    path = RECORDED / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {where}\n{text}")
    print(f"{path.relative_to(REPOSITORY)}: {len(text.splitlines())} lines", flush=True)


@contextmanager
def box(release: str) -> Iterator[Machine]:
    """A fresh box that has booted."""
    machine = Machine.create(f"record-{release}", release)
    try:
        machine.boot()
        machine.wait_for_ssh()
        yield machine
    finally:
        stop_channel(machine)
        machine.destroy()


class Recorder:
    """What one box says."""

    def __init__(self, machine: Machine, system: str) -> None:
        self.machine, self.system = machine, system

    def __call__(
        self, name: str, asked: str, command: str | StringCommand, user: str = "root"
    ) -> None:
        """Record what a command prints there."""
        line = command if isinstance(command, str) else command.get_raw_value()
        done = self.machine.run(line, user=user, check=True)
        write(name, f"What {asked} printed on {self.system}.", done.stdout)

    def fact(
        self, name: str, fact: Any, after: str = "", user: str = "root", **arguments: Any
    ) -> None:
        """Record what a fact's command prints there, after something happened."""
        cls = type(fact)
        asked = f"{cls.__module__}.{cls.__name__}'s command"
        who = "" if user == "root" else f" to {user}"
        command = arguments.pop("command", None) or fact.command(**arguments)
        self(name, f"{asked}{who}{after}", command, user)


def bare(release: str) -> None:
    """What a fresh box says."""
    with box(release) as machine:
        record = Recorder(machine, f"a bare {RELEASES[release]}")
        record.fact(f"preflight/{release}", Preflight(), command=PREFLIGHT)
        record.fact(f"packages/missing-{release}", MissingPackages(), packages=BASE_PACKAGES)
        record.fact(f"packages/repositories-{release}", AptRepositories())
        record.fact(f"packages/site-{release}", Site(), apt=MIRROR, pip=PIP_CONF, aside=ASIDE)
        for user in ("root", "ops", "opspw"):
            record.fact(f"preflight/access-{user}-{release}", Access(), user=user)
        if release != "trixie":
            return
        record.fact("hub/state-bare", Hub())
        record.fact("conda/state-bare", CondaReleases())
        record.fact("jupyter/state-bare", PublishedKernelspecs(), environments=["python3"])
        names = ["root", "ops", "opspw", "nobody", "ada"]
        record.fact("users/accounts", Accounts(), users=names, groups=["sudo", "lab"])
        machine.run(f"mkdir -m 755 {layout.WORKSPACE}", user="ops", check=True)
        record.fact(
            "preflight/access-open-workspace", Access(), " with a workspace of mode 755", "ops"
        )
        machine.run("rm /usr/bin/sudo", check=True)
        record.fact("preflight/access-no-sudo", Access(), " without sudo", "ops")


def deployed() -> None:
    """What a box says after the demo's deploy, and after things happened to its hub."""
    with box("trixie") as machine:
        machine.conda = conda_mirror(machine, print)
        machine.save()
        settings = {key: demo_settings(machine)[key] for key in ("hub", "environments")}
        deploy = [str(TOOLS / "pyinfra"), "-y", "inventories/demo.py", "deploy.py"]
        env = {**os.environ, "JUPYTERBOX_DEMO": machine.name}
        subprocess.run(deploy, cwd=REPOSITORY, env=env, check=True)

        where = "What the box of the recordings named `deployed` was declared to be."
        write("deployed", where, json.dumps(settings, indent=1) + "\n")
        record = Recorder(machine, "Debian 13 after a deploy")
        environments = [environment["name"] for environment in settings["environments"]]
        record.fact("preflight/deployed", Preflight(), command=PREFLIGHT)
        record.fact("conda/state-deployed", CondaReleases())
        record.fact("jupyter/state-deployed", PublishedKernelspecs(), environments=environments)
        record("hub/release", "a hub's release.json", f"cat {layout.RELEASES}/*/release.json")
        record("hub/systemctl-absent", f"`{SHOW} absent`", f"{SHOW} absent.service")
        record("hub/systemctl-active", f"`{SHOW} jupyterhub`", f"{SHOW} jupyterhub")
        record.fact("hub/state-deployed", Hub())
        machine.run(f"touch {layout.CONFIG}", check=True)
        record.fact("hub/state-newer", Hub(), " once the configuration had been touched")
        machine.run(f"echo >> {layout.unit_file(layout.HUB_UNIT)}", check=True)
        record.fact("hub/state-reload", Hub(), " once the unit had been changed as well")
        record("hub/systemctl-reload", f"`{SHOW} jupyterhub` then", f"{SHOW} jupyterhub")
        machine.run("systemctl stop jupyterhub", check=True)
        record.fact("hub/state-stopped", Hub(), " once it had been stopped as well")
        record("hub/systemctl-stopped", f"`{SHOW} jupyterhub` then", f"{SHOW} jupyterhub")
        machine.run("systemctl daemon-reload && systemctl start jupyterhub", check=True)
        machine.run("systemctl disable jupyterhub", check=True)
        record.fact("hub/state-disabled", Hub(), " once it had been started and disabled")


def uv() -> None:
    """What uv says when it fails."""
    program = str(TOOLS / "uv")
    version = subprocess.check_output([program, "--version"], text=True).split()[1]
    with tempfile.TemporaryDirectory() as folder:
        venv = [program, "venv", "--quiet", "--python", "/usr/bin/python3", "v"]
        subprocess.run(venv, cwd=folder, check=True)
        Path(folder, "constraints.txt").write_text("six==1.15.0\n")
        for name, arguments in UV.items():
            python = [] if "--python" in arguments else ["--python", "v/bin/python"]
            done = subprocess.run(
                [program, "--no-config", "pip", "install", *python, *arguments],
                cwd=folder,
                capture_output=True,
                text=True,
                env={**os.environ, "UV_CACHE_DIR": f"{folder}/cache"},
            )
            assert done.returncode, f"{name} did not fail"
            said = done.stderr.replace(folder, "/tmp")
            shown = " ".join(map(repr, arguments))
            write(f"uv/{name}", f"uv {version}, stderr of: uv pip install {shown}", said)


if __name__ == "__main__":
    for what in sys.argv[1:] or sys.exit(__doc__):
        if what == "bare":
            for release in RELEASES:
                bare(release)
        elif what == "deployed":
            deployed()
        elif what == "uv":
            uv()
        else:
            sys.exit(f"{what!r} is none of: bare, deployed, uv")
