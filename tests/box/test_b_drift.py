"""What drifted or was interrupted: the next deploy asks the box, not its memory, and mends it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyterbox.layout import (
    CONFIG,
    CONFIG_D,
    COOKIE_SECRET,
    HUB_UNIT,
    KERNELS,
    PROXY_ENVIRONMENT,
    PROXY_UNIT,
    unit_file,
)
from jupyterbox.settings import Environment
from tests.box.conftest import Operator, Settings
from tests.box.user import wait_for

pytestmark = pytest.mark.once

LAB = "/opt/conda/releases/lab"


def kernelspec(box: Operator, name: str) -> dict[str, Any]:
    """A published kernelspec."""
    spec: dict[str, Any] = json.loads(box.sh(f"cat {KERNELS}/{name}/kernel.json"))
    return spec


def test_a_file_of_the_operators_restarts_the_hub_once_and_the_proxy_never(box: Operator) -> None:
    hub, proxy = box.main_pid(HUB_UNIT), box.main_pid(PROXY_UNIT)
    box.sh(f"echo 'c.Spawner.start_timeout = 61' > {CONFIG_D}/10-mine.py")
    assert "Hub service | Run proxy and hub" in box.changed()
    assert box.main_pid(HUB_UNIT) != hub
    hub = box.main_pid(HUB_UNIT)
    assert box.changed() == []
    assert (box.main_pid(HUB_UNIT), box.main_pid(PROXY_UNIT)) == (hub, proxy)
    # The next deploy sees it go, too.
    box.sh(f"rm {CONFIG_D}/10-mine.py")
    fact = box.pyinfra("fact", "facts.hub.Hub", "--json")
    units = json.loads(fact.stdout)["facts.hub.Hub"]["127.0.0.1"]["units"]
    assert units[HUB_UNIT]["newer"] == [CONFIG_D]
    assert units[PROXY_UNIT]["newer"] == []


def test_what_was_changed_by_hand_is_as_declared_again(box: Operator) -> None:
    paths = [CONFIG, unit_file(HUB_UNIT), unit_file(PROXY_UNIT), "/etc/pam.d/jupyterhub"]
    paths += [f"{KERNELS}/{name}/kernel.json" for name in ("python3", "anaconda3")]
    paths += ["/opt/conda/.condarc", COOKIE_SECRET, PROXY_ENVIRONMENT, "/opt/jupyterhub/bin"]
    paths += ["/opt/conda/envs/anaconda3", "/etc/profile.d/conda.sh"]
    # What each is, whose, and where it leads; and the content of those that are files.
    look = (
        f"stat -c '%N %a %U:%G' {' '.join(paths)} && cat {' '.join(paths)} 2>/dev/null | sha256sum"
    )
    declared = box.sh(look)
    proxy = box.main_pid(PROXY_UNIT)
    box.sh(
        # ipykernel writes its own python3 on every `pip install`.
        f"""sed -i 's#"/opt/conda[^"]*/bin/python"#"python"#' {KERNELS}/python3/kernel.json
        rm -r {KERNELS}/anaconda3
        echo 'c.JupyterHub.port = 1' >> {CONFIG}; chmod 644 {CONFIG}
        echo 'auth sufficient pam_permit.so' > /etc/pam.d/jupyterhub
        sed -i s/jupyterhub/juypterhub/ {unit_file(HUB_UNIT)}
        chmod 644 {COOKIE_SECRET}; chmod 755 /var/lib/jupyterhub
        rm /opt/jupyterhub/bin /etc/profile.d/conda.sh /opt/conda/.condarc
        ln -sfn ../releases/python3/nothing /opt/conda/envs/anaconda3
        systemctl disable --quiet {HUB_UNIT} && systemctl stop {HUB_UNIT}"""
    )
    assert box.sh(look, check=False) != declared
    box.deploy()
    assert box.sh(look) == declared
    assert box.sh("stat -c %a /var/lib/jupyterhub") == "700\n"
    assert box.sh(f"systemctl is-enabled {HUB_UNIT} {PROXY_UNIT}") == "enabled\nenabled\n"
    assert box.main_pid(HUB_UNIT)
    assert box.main_pid(PROXY_UNIT) == proxy
    assert box.deploy()["success"] == 0


def test_a_stopped_proxy_is_started_and_the_hub_stays(box: Operator) -> None:
    hub = box.main_pid(HUB_UNIT)
    box.sh(f"systemctl stop {PROXY_UNIT}")
    # The hub does without for a moment only; whichever of the two comes first, it is there again.
    assert "Hub service | Run proxy and hub" in box.changed()
    assert box.main_pid(PROXY_UNIT)
    assert box.main_pid(HUB_UNIT) == hub
    assert box.deploy()["success"] == 0


@pytest.fixture
def with_lab(box: Operator) -> Settings:
    """The demo's settings with one environment more."""
    settings = box.settings()
    python = settings["environments"][0]["conda"][0]
    content = [python, "ipykernel", "numpy", "pip"]
    settings["environments"].append({"name": "lab", "title": "Lab", "conda": content})
    return settings


def release_of(settings: Settings) -> str:
    """Where the last of some settings' environments is built."""
    environment = Environment(**settings["environments"][-1])
    channels = settings["conda"].get("channels", ["conda-forge"])
    return f"/opt/conda/releases/{environment.name}/{environment.release_id(channels)}"


def test_a_deploy_that_was_killed_while_it_built_is_finished_by_the_next(
    box: Operator, with_lab: Settings
) -> None:
    release = release_of(with_lab)
    box.sh(f"rm -rf /opt/conda/envs/lab {LAB}")
    killed = box.start("-y", "deploy.py", settings=with_lab)
    wait_for(lambda: "conda-meta" in box.sh(f"ls {release}", check=False), "half a release")
    killed.kill()
    killed.wait()
    assert "release.json" not in box.sh(f"ls {release}", check=False)
    # At once, while what it has started on the box may still be at it.
    box.deploy(with_lab)
    assert kernelspec(box, "lab")["env"]["CONDA_PREFIX"] == release
    assert box.sh("readlink -f /opt/conda/envs/lab").strip() == release
    box.sh(f"{release}/bin/python -c 'import numpy, ipykernel.kernelapp'")
    assert box.deploy(with_lab)["success"] == 0


def test_an_environment_that_is_no_longer_declared_loses_its_kernel_and_keeps_its_release(
    box: Operator, with_lab: Settings
) -> None:
    release = release_of(with_lab)
    box.deploy(with_lab)
    box.sh(f"mkdir {KERNELS}/theirs && cp {KERNELS}/lab/kernel.json {KERNELS}/theirs")
    box.sh(f"sed -i s/jupyterbox/theirs/ {KERNELS}/theirs/kernel.json")
    assert box.changed() == ["Kernelspecs | Publish the environments' kernels"]
    # A kernelspec that somebody else has put there is not ours to remove.
    assert box.sh(f"ls {KERNELS}").split() == ["anaconda3", "python3", "theirs"]
    box.sh(f"rm -r {KERNELS}/theirs")
    box.sh(f"test -e {release}/release.json && {release}/bin/python -c 'import numpy'")
    assert box.sh("readlink -f /opt/conda/envs/lab").strip() == release
    assert box.deploy()["success"] == 0


def test_a_half_built_release_is_built_anew(restored: Operator, with_lab: Settings) -> None:
    box, release = restored, release_of(with_lab)
    box.deploy(with_lab)
    # As a power cut leaves it: files of packages, records of some, and not its own.
    box.sh(
        f"rm /opt/conda/envs/lab {release}/release.json {release}/conda-meta/numpy-*.json"
        f" && touch {release}/debris && : > {release}/bin/python3.part"
    )
    changed = box.changed(with_lab)
    assert changed == ["Environments | Build lab"]
    box.sh(f"test -e {release}/release.json && ! test -e {release}/debris")
    box.sh(f"{release}/bin/python -c 'import numpy'")
