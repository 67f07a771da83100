"""What boxes say to a whole deploy: bare ones, and one that was deployed, with what it declared."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from jupyterbox.settings import Box, Conda, Installer, User
from operations.hub import rendered
from operations.hub_wanted import lock_of, proxy_digest, release_id
from tests.unit.engine import first_line, programs, recorded

DECLARED = json.loads(recorded("deployed"))
INSTALLER = Installer(url="https://example.org/Miniforge3.sh", sha256="5" * 64)
CONDA = Conda(installers={"amd64": INSTALLER})
DEPLOYED = Box(**DECLARED, conda=CONDA, users=[User(name="demo")])
HUB = DEPLOYED.hub
PYTHON3, ANACONDA3 = DEPLOYED.environments

PYTHON3_ID = PYTHON3.release_id(["conda-forge"])
ANACONDA3_ID = ANACONDA3.release_id(["conda-forge"])
HUB_ID = release_id(HUB, "3.13")


def then_and_now() -> dict[str, str]:
    """Ids are hashes of what is declared and of how it is built: the recorded, and those of now."""
    hub = json.loads(recorded("hub/state-deployed"))
    environments = json.loads(recorded("conda/state-deployed"))["environments"]
    return {
        hub["current"]: HUB_ID,
        hub["releases"][hub["current"]]["proxy"]: proxy_digest(lock_of(HUB)),
        environments["python3"]["current"]: PYTHON3_ID,
        environments["anaconda3"]["current"]: ANACONDA3_ID,
    }


def said(recording: str) -> str:
    """What the deployed box said, with the ids of now."""
    text = recorded(recording)
    for then, now in then_and_now().items():
        text = text.replace(then, now)
    return text


def state(recording: str) -> Any:
    """The same, of a recording that is JSON."""
    return json.loads(said(recording))


def hub_state(recording: str = "deployed", box: Box = DEPLOYED) -> Any:
    """What the hub's fact is, with every file of the hub as a box declares it now."""
    found = state(f"hub/state-{recording}")
    for path, content in rendered(box).items():
        found["files"][path] = hashlib.sha256(content.encode()).hexdigest()
    return found


# Of a GPU and its driver they say nothing, as a container does.
NO_GPU = {"What files tell of NVIDIA's driver": ""}
BARE = {"conda_state": "conda/state-bare", "hub_state": "hub/state-bare"}


def bare(
    system: str = "trixie", access: str = "root-trixie", urls: dict[str, str] | None = None
) -> dict[str, Any]:
    """What a bare box says."""
    return {
        "echo uid=": recorded(f"preflight/access-{access}"),
        **NO_GPU,
        "@@architecture": recorded(f"preflight/{system}"),
        **{first_line(name): recorded(recording) for name, recording in BARE.items()},
        **programs(check_urls=urls or {}),
        "dpkg-query": recorded(f"packages/missing-{system}"),
        "indextargets": recorded(f"packages/repositories-{system}"),
        "command -v sqv": "yes",
    }


def converged() -> dict[str, Any]:
    """What the deployed box says."""
    return {
        "echo uid=": "uid=0\nuser=root\nworkspace=700 root\nsudo=yes",
        **NO_GPU,
        "@@architecture": recorded("preflight/deployed"),
        **programs(conda_state=state("conda/state-deployed"), hub_state=hub_state()),
    }
