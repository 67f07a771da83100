"""The box reboots, when nobody works or when told to: the hub is back by itself, and its users."""

from __future__ import annotations

import time

from jupyterbox.layout import HUB_UNIT, PROXY_UNIT
from tests.box.conftest import Operator
from tests.box.user import User


def test_the_hub_is_back_by_itself_after_a_reboot(box: Operator, ada: User) -> None:
    before = box.machine.boot_id()
    home = f"{ada.hub}/hub/home"
    # Somebody is at work when it happens.
    ada.kernel("python3").execute("1")

    refused = box.pyinfra("-y", "tasks/reboot.py")
    assert refused.returncode != 0
    assert "- ada runs kernels: 1 of python3" in refused.stderr
    assert box.machine.boot_id() == before
    [kernel] = ada.api("api/kernels")
    assert kernel["execution_state"] == "idle"

    told = time.monotonic()
    done = box.pyinfra("-y", "--data", "force=yes", "tasks/reboot.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    stop the server" in done.stdout + done.stderr
    # It has no GPU.
    assert "CUDA" not in done.stdout + done.stderr
    print(f"rebooted and verified within {time.monotonic() - told:.1f} s")

    assert box.machine.boot_id() not in (None, before)
    # Their browser is still logged in, and nobody has started anything.
    assert ada.fetch(home)[:2] == (200, home)
    assert box.sh(f"systemctl is-active {HUB_UNIT} {PROXY_UNIT}").split() == ["active", "active"]
    assert box.sh("systemctl list-units --failed --plain --no-legend 'jupyter*'") == ""

    ada.start_server()
    assert ada.api("api/kernels") == []
    with ada.kernel("python3") as kernel:
        assert kernel.execute("print(6 * 7)") == "42"


def test_a_deploy_has_nothing_to_do_after_a_reboot(box: Operator) -> None:
    assert box.deploy()["success"] == 0
