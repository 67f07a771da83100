"""The demo box that `make demo` boots: pyinfra inventories/demo.py deploy.py

A box like any other, but for its ports, all on loopback, and for what its host can reach: the
host's certificate authorities and mirrors are its own, and where the conda hosts do not answer, a
local channel and installer stand in, through the same settings that a site with mirrors uses.
"""

import os

from jupyterbox import Box, Conda, Environment, Hub, Mirrors, User
from jupyterbox.demo.machine import Machine
from jupyterbox.settings import ANACONDA_PACKAGES, Installer

_machine = Machine.load(os.environ.get("JUPYTERBOX_DEMO", "demo"))
_conda = _machine.conda
_python = _conda.get("python", "3.13")
_mirrors = {
    "python": _machine.python_index,
    "npm": _machine.npm_registry,
    "conda": _conda.get("channel_alias"),
}

_box = Box(
    hub=Hub(
        address="127.0.0.1",
        port=_machine.ports["hub"],
        proxy_api_port=_machine.ports["proxy_api"],
        hub_port=_machine.ports["hub_api"],
    ),
    conda=Conda(
        installers={
            architecture: Installer(url=_conda["installer_url"], sha256=_conda["installer_sha256"])
            for architecture in ("amd64", "arm64")
        }
    )
    if _conda
    else Conda(),
    environments=[
        Environment(
            name="python3",
            title=f"Python {_python} (default)",
            conda=[f"python={_python}", "ipykernel", "pip"],
        ),
        Environment(
            name="anaconda3",
            title="Anaconda3 full",
            # conda-forge has no metapackage `anaconda`; the local channel has.
            conda=[f"python={_python}", "pip", *(["anaconda"] if _conda else ANACONDA_PACKAGES)],
        ),
    ],
    users=[User(name="demo", password_hash=_machine.demo_password_hash)],
    mirrors=Mirrors(**{name: url for name, url in _mirrors.items() if url}),
    ca_certificates=_machine.ca_certificates,
)

boxes = [
    _box.at(
        _machine.ssh_host,
        ssh_port=_machine.ssh_port,
        ssh_user=os.environ.get("JUPYTERBOX_DEMO_USER", _machine.ssh_user),
        ssh_key=str(_machine.ssh_key),
        ssh_known_hosts_file=str(_machine.known_hosts),
        ssh_strict_host_key_checking="yes",
    )
]
