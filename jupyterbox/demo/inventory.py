"""A demo box's settings and connection, as its inventory and the tests' take them.

A box like any other, but for its ports, all on loopback, and for what its host can reach: the
host's certificate authorities and mirrors are its own, and where the conda hosts do not answer, a
local channel and installer stand in, through the same settings that a site with mirrors uses.
"""

from __future__ import annotations

from typing import Any

from jupyterbox.demo.machine import Machine
from jupyterbox.settings import ANACONDA_PACKAGES


def demo_settings(machine: Machine) -> dict[str, Any]:
    """The arguments of the `Box` that a demo box shall be.

    Args:
        machine: where its hub may listen, and where its conda comes from.
    """
    python = machine.conda.get("python", "3.13")
    # conda-forge has no metapackage `anaconda`; the local channel has.
    anaconda = ["anaconda"] if machine.conda else ANACONDA_PACKAGES
    return {
        "hub": {
            "address": "127.0.0.1",
            "port": machine.ports["hub"],
            "proxy_api_port": machine.ports["proxy_api"],
            "hub_port": machine.ports["hub_api"],
        },
        "conda": conda_settings(machine),
        "environments": [
            {
                "name": "python3",
                "title": f"Python {python} (default)",
                "conda": [f"python={python}", "ipykernel", "pip"],
            },
            {
                "name": "anaconda3",
                "title": "Anaconda3 full",
                "conda": [f"python={python}", "pip", *anaconda],
            },
        ],
        "users": [{"name": "demo", "password_hash": machine.demo_password_hash}],
        "mirrors": mirror_settings(machine),
        "ca_certificates": machine.ca_certificates,
    }


def conda_settings(machine: Machine) -> dict[str, Any]:
    """Where its conda comes from: the public installer, or the local one."""
    if not machine.conda:
        return {}
    script = {
        "url": machine.conda["installer_url"],
        "sha256": machine.conda["installer_sha256"],
    }
    return {"installers": {"amd64": script, "arm64": script}}


def mirror_settings(machine: Machine) -> dict[str, str]:
    """The mirrors that its host is set to; the public places where it is not."""
    mirrors = {
        "python": machine.python_index,
        "npm": machine.npm_registry,
        "conda": machine.conda.get("channel_alias"),
    }
    return {name: url for name, url in mirrors.items() if url}


def connection(machine: Machine, user: str = "root") -> dict[str, Any]:
    """How pyinfra reaches it.

    Args:
        machine: the box.
        user: root, `ops` (sudo without a password) or `opspw` (sudo with one).
    """
    return {
        "ssh_user": user,
        "ssh_port": machine.ssh_port,
        "ssh_key": str(machine.ssh_key),
        "ssh_known_hosts_file": str(machine.known_hosts),
        "ssh_strict_host_key_checking": "yes",
    }
