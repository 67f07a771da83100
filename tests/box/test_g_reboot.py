"""The box reboots: the hub is back by itself, with its users, and they with their kernels."""

from __future__ import annotations

import time

from jupyterbox.layout import HUB_UNIT, PROXY_UNIT
from tests.box.conftest import Operator
from tests.box.user import User, wait_for


def test_the_hub_is_back_by_itself_after_a_reboot(box: Operator, ada: User) -> None:
    before = box.machine.boot_id()
    home = f"{ada.hub}/hub/home"
    # Somebody is at work when it happens.
    ada.kernel("python3")

    box.machine.reboot()

    booted = time.monotonic()
    assert box.machine.boot_id() not in (None, before)
    # Their browser is still logged in, and nobody has touched the box.
    wait_for(lambda: ada.fetch(home)[:2] == (200, home), "the hub after a reboot")
    print(f"the hub answers {time.monotonic() - booted:.1f} s after people may log in by SSH")
    assert box.sh(f"systemctl is-active {HUB_UNIT} {PROXY_UNIT}").split() == ["active", "active"]
    assert box.sh("systemctl list-units --failed --plain --no-legend 'jupyter*'") == ""

    ada.start_server()
    assert ada.api("api/kernels") == []
    with ada.kernel("python3") as kernel:
        assert kernel.execute("print(6 * 7)") == "42"


def test_verify_passes_after_a_reboot_and_a_deploy_has_nothing_to_do(box: Operator) -> None:
    run = box.pyinfra("-y", "tasks/verify.py")
    assert run.returncode == 0, run.stdout + run.stderr
    assert box.deploy()["success"] == 0
