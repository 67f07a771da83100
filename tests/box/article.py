"""The article followed by hand: article.sh on a demo box, with what this host can reach."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from jupyterbox.demo.machine import Machine

ARTICLE = Path(__file__).with_name("article.sh")
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def trust(machine: Machine) -> None:
    """Have a bare box trust this site's authorities."""
    authorities = machine.root / "usr/local/share/ca-certificates"
    authorities.mkdir(parents=True, exist_ok=True)
    for certificate in machine.ca_certificates:
        shutil.copy(certificate, authorities)
    install = "apt-get -q update && apt-get -qy install ca-certificates && update-ca-certificates"
    machine.run(install, check=True)


def command(machine: Machine, environment: str) -> str:
    """The command that follows it, with its text as input.

    Args:
        machine: whose ports and mirrors it is told.
        environment: the conda environment's name.
    """
    variables = {
        "PIP_CERT": CA_BUNDLE,
        "NODE_EXTRA_CA_CERTS": CA_BUNDLE,
        "PIP_INDEX_URL": machine.python_index,
        "NPM_CONFIG_REGISTRY": machine.npm_registry,
        "CONDA_CHANNEL_ALIAS": machine.conda.get("channel_alias"),
        "CONDA_INSTALLER": machine.conda.get("installer_url"),
        "PYTHON_VERSION": machine.conda.get("python"),
        "ENVIRONMENT": environment,
        "HUB_PORT": str(machine.ports["hub"]),
        "HUB_API_PORT": str(machine.ports["hub_api"]),
        "PROXY_API_PORT": str(machine.ports["proxy_api"]),
    }
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items() if value)
    return f"{given} bash -s"
