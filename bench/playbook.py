"""The Ansible playbook that declares the same box: installed, told the same settings, and run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from bench.boxes import Operator, Settings, timed
from jupyterbox import layout
from jupyterbox.demo.machine import Machine
from jupyterbox.program import source
from jupyterbox.settings import REPOSITORY, Box, Environment
from operations.conda import condarc
from operations.hub_release import in_url
from operations.packages import pip_conf

HERE = REPOSITORY / "bench/ansible"
VENV = REPOSITORY / "build/ansible"
RELEASE = f"{layout.RELEASES}/by-ansible"


def install() -> None:
    """Put ansible-core, in the version that is pinned, into a venv of its own."""
    uv = [str(Path(sys.executable).with_name("uv")), "--quiet"]
    if not VENV.exists():
        timed([*uv, "venv", "--python", sys.executable, str(VENV)])
    requirements = str(HERE / "requirements.txt")
    python = str(VENV / "bin/python")
    timed([*uv, "pip", "install", "--python", python, "--requirement", requirements])


def variables(box: Box) -> dict[str, Any]:
    """What the playbook is told: the same settings, in its words.

    Args:
        box: what the box shall be.
    """
    hub = box.hub.model_dump(mode="json")
    return {
        "files": str(REPOSITORY / "box"),
        "lock": hub["lock"],
        "hub": hub,
        "hub_release": RELEASE,
        "layout": {name: value for name, value in vars(layout).items() if name.isupper()},
        "ca": bool(box.ca_certificates),
        "bind_url": f"http://{in_url(box.hub.address)}:{box.hub.port}{box.hub.base_url}",
        "prepare": source("prepare_database"),
        "packages": box.packages,
        "authorities": [str(path) for path in box.ca_certificates],
        "pip_conf": pip_conf(box),
        "condarc": condarc(box),
        "mirrors": box.mirrors.model_dump(mode="json"),
        "conda": {
            "root": box.conda.root,
            "installer": box.conda.installers["amd64"].model_dump(mode="json"),
        },
        "users": [
            {
                "name": user.name,
                "password_hash": user.password_hash.get_secret_value()
                if user.password_hash
                else "!",
            }
            for user in box.users
        ],
        "environments": [environment(one, box) for one in box.environments],
    }


def environment(declared: Environment, box: Box) -> dict[str, Any]:
    """One environment in the playbook's words."""
    identity = declared.release_id(box.conda.channels)
    prefix = layout.conda_release(box.conda.root, declared.name, identity)
    kernel = {
        "argv": [f"{prefix}/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": declared.label,
        "language": "python",
        "env": {
            "PATH": f"{prefix}/bin:${{PATH}}",
            "CONDA_PREFIX": prefix,
            "CONDA_DEFAULT_ENV": declared.name,
        },
    }
    return {
        "name": declared.name,
        "packages": declared.conda,
        "prefix": prefix,
        "kernel": kernel,
    }


class Ansible:
    """Somebody who runs the playbook against one box.

    Args:
        operator: whose directory, and whose way to the box, it uses.
        machine: the box.
        settings: what it shall be.
    """

    def __init__(self, operator: Operator, machine: Machine, settings: Settings) -> None:
        self.operator, self.machine = operator, machine
        self.settings = settings
        self.told = operator.directory / "variables.json"
        self.told.touch(mode=0o600)
        self.told.write_text(json.dumps(variables(Box(**settings))))
        self.runs = 0

    def run(self, *arguments: str) -> tuple[float, str]:
        """Run the playbook, without a connection from before: the seconds, and what it printed."""
        self.runs += 1
        # Each run's connection has a socket of its own, which it leaves behind for a minute.
        sockets = self.operator.directory / f"ssh{self.runs}"
        sockets.mkdir()
        inventory = self.operator.directory / "inventory.json"
        inventory.write_text(json.dumps({"boxes": {"hosts": {"box": self._way()}}}))
        return timed(
            [
                str(VENV / "bin/ansible-playbook"),
                *("--inventory", str(inventory), "--extra-vars", f"@{self.told}"),
                *arguments,
                str(HERE / "playbook.yml"),
            ],
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
                # Python's own locale would be refused.
                "LC_ALL": "C.UTF-8",
            },
        )

    def _way(self) -> dict[str, Any]:
        way = self.operator.way_to(self.machine)
        return {
            "ansible_host": way["ssh_hostname"],
            "ansible_port": way["ssh_port"],
            "ansible_ssh_private_key_file": way["ssh_key"],
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={way['ssh_known_hosts_file']} "
            "-o IdentitiesOnly=yes -o StrictHostKeyChecking=yes",
        }
