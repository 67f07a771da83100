"""What cannot be built or loaded after a good deploy: one sentence, and everything runs on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jupyterbox import layout
from jupyterbox.layout import CONFIG, CONFIG_D, HUB_UNIT, PROXY_UNIT
from tests.box.conftest import Operator, Settings
from tests.box.user import User

pytestmark = pytest.mark.once


def look(box: Operator) -> str:
    """What a failed deploy must leave: releases, links, kernels, configuration, and processes."""
    pids = [box.main_pid(unit) for unit in (HUB_UNIT, PROXY_UNIT, "jupyter-ada-singleuser")]
    return box.sh(
        "ls -d /opt/conda/releases/*/* /opt/jupyterhub/releases/*;"
        " stat -c '%N %Y' /opt/conda/envs/* /opt/jupyterhub/current;"
        f" cd {layout.KERNELS} && stat -c '%n %Y' * && sha256sum */*;"
        f" sha256sum {CONFIG} /etc/systemd/system/jupyterhub* /etc/pam.d/jupyterhub; echo {pids}"
    )


@pytest.fixture
def unharmed(box: Operator, ada: User) -> Iterator[Operator]:
    """The box for deploys that fail: ada's kernels and all else are as they were after them."""
    box.deploy()
    with ada.kernel("python3") as kernel, ada.kernel("anaconda3") as other:
        for each in (kernel, other):
            each.execute("kept = 41")
        before = look(box)
        yield box
        assert look(box) == before
        for each in (kernel, other):
            assert each.execute("print(kept + 1)") == "42"
    with ada.kernel("anaconda3") as fresh:
        assert fresh.execute("print(6 * 7)") == "42"


def fails_with(box: Operator, settings: Settings) -> str:
    """Deploy, which fails; the one line of its output that says why."""
    run = box.pyinfra("-y", "deploy.py", settings=settings)
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    lines = run.stderr.splitlines()
    # pyinfra's own line for the step that failed comes after the sentence.
    end = next(number for number, line in enumerate(lines) if "Error: executed" in line)
    return lines[end - 1].partition("] ")[2]


def test_packages_that_cannot_be_had_leave_what_runs(unharmed: Operator) -> None:
    if not unharmed.machine.conda:
        pytest.skip("needs-old-six and needs-new-six are on the local channel only")
    settings = unharmed.settings()
    python3, anaconda3 = settings["environments"]
    anaconda3["conda"] += ["needs-old-six", "needs-new-six"]
    said = fails_with(unharmed, settings)
    assert said.startswith("environment anaconda3: its packages exclude each other: ")
    assert "needs-old-six" in said and "needs-new-six" in said

    anaconda3["conda"][-2:] = ["no-such-package", "no-such-either"]
    said = fails_with(unharmed, settings)
    channel = f"{unharmed.machine.conda['channel_alias']}/conda-forge"
    assert said.startswith("environment anaconda3: no package 'no-such-")
    assert said.endswith(f" in {channel}.")

    # The first environment, which anaconda3 would follow; the other package index.
    del anaconda3["conda"][-2:]
    python3["pip"] = ["no-such-package-of-anybodys"]
    said = fails_with(unharmed, settings)
    assert said.startswith("environment python3: pip packages: ")
    assert "no-such-package-of-anybodys was not found" in said
    assert unharmed.changed() == []


def test_a_configuration_that_does_not_load_takes_no_hub_down(unharmed: Operator) -> None:
    left = ": the hub was left as it is."
    settings = unharmed.settings()
    settings["hub"]["extra_config"] = "x = 1\nraise RuntimeError('the disk of the lab is missing')"
    said = fails_with(unharmed, settings)
    assert said.startswith(f"{CONFIG}, line ")
    assert said.endswith(f", does not load (RuntimeError: the disk of the lab is missing){left}")

    settings["hub"]["extra_config"] = "c.SystemdSpawner.mem_limit = 'lots'"
    said = fails_with(unharmed, settings)
    assert said.startswith("JupyterHub refuses its configuration (lots is not a valid memory ")
    assert said.endswith(left)

    mine = f"{CONFIG_D}/50-lab.py"
    for content, reason in (
        ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("\nc.Spawner.cmd = (", "SyntaxError: '(' was never closed"),
    ):
        unharmed.machine.run(f"cat > {mine}", input=content, check=True)
        said = fails_with(unharmed, unharmed.settings())
        number = 1 + content.count("\n")
        assert said == f"{mine}, line {number}, does not load ({reason}){left}"
    unharmed.sh(f"rm {mine}")


def test_a_hub_that_does_not_start_shows_its_journal(restored: Operator) -> None:
    settings = restored.settings()
    # JupyterHub takes this; that there is no such directory, it finds out when it starts.
    settings["hub"]["extra_config"] = "c.JupyterHub.db_url = 'sqlite:////nowhere/at/all.sqlite'"
    run = restored.pyinfra("-y", "deploy.py", settings=settings)
    assert run.returncode == 1
    assert "unable to open database file" in run.stderr
    health = f"{restored.machine.url}/hub/health"
    said = f"jupyterhub.service ends whenever it is started, and {health} does not answer."
    assert said in run.stderr
