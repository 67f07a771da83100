"""What runs stays: a user's server, kernels and open websockets, while the box changes under them.

In each of these a cell prints numbers all the while, through the one websocket that its kernel has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from jupyterbox.layout import HUB_UNIT, PROXY_UNIT
from tests.box.conftest import Operator
from tests.box.user import Kernel, User, wait_for

STOP = PurePosixPath("/home/ada/stop-counting")
COUNT = f"""
import pathlib, time
number, stop = 0, pathlib.Path({str(STOP)!r})
while not stop.exists():
    print(number, flush=True)
    number += 1
    time.sleep(0.1)
stop.unlink()
"""

# Every module anew, again and again: each comes from the release's files when it is asked for.
IMPORT = f"""
import encodings, importlib, pathlib, pkgutil, pygments.lexers, sys, time
names = [f"{{package.__name__}}.{{module.name}}" for package in (encodings, pygments.lexers)
         for module in pkgutil.iter_modules(package.__path__)]
names = [name for name in names if name not in ("encodings.mbcs", "encodings.oem")]
number, stop = 0, pathlib.Path({str(STOP)!r})
while not stop.exists():
    sys.modules.pop(name := names[number % len(names)], None)
    assert importlib.import_module(name).__file__.startswith(sys.prefix)
    print(number, flush=True)
    number += 1
    time.sleep(0.05)
stop.unlink()
"""


class Survivor:
    """A user's kernel at work, and what must be the same of it and around it later."""

    def __init__(self, box: Operator, user: User) -> None:
        self.box, self.user = box, user
        self.kernel = user.kernel("python3")
        self.kernel.execute("import os, secrets, sys; variable = secrets.token_hex()")
        self.prefix = self.kernel.execute("print(sys.prefix)")
        self.before = self._seen()
        self.begin(COUNT)

    def begin(self, code: str) -> None:
        """Have it print numbers, one after the other, until it is told to stop."""
        self.counting = self.kernel.begin(code)

    def stop(self) -> None:
        """Tell it to stop."""
        self.box.sh(f"touch {STOP}")

    def is_unharmed(self) -> None:
        """Hold that nothing was lost, and that no process was replaced."""
        self.stop()
        numbers = self.kernel.output(self.counting).split()
        assert len(numbers) > 1
        assert numbers == [str(number) for number in range(len(numbers))]
        assert self._seen() == self.before
        print(f"{len(numbers)} lines through one websocket, none lost")

    def _seen(self) -> dict[str, object]:
        return {
            "the kernel's process and variable": self.kernel.execute(
                "print(os.getpid(), variable)"
            ),
            "the user's server": self.box.main_pid(f"jupyter-{self.user.name}-singleuser"),
            "the proxy": self.box.main_pid(PROXY_UNIT),
        }


@pytest.fixture
def survivor(box: Operator, ada: User) -> Iterator[Survivor]:
    """A kernel of ada's that should live through the test."""
    box.sh(f"rm -f {STOP}")
    survivor = Survivor(box, ada)
    yield survivor
    survivor.kernel.close()


def hub_answers(user: User) -> bool:
    """Whether the hub is there, and still knows the user's browser."""
    address = f"{user.hub}/hub/home"
    return user.fetch(address)[:2] == (200, address)


def test_a_hub_restart_interrupts_no_kernel(box: Operator, ada: User, survivor: Survivor) -> None:
    hub = box.main_pid(HUB_UNIT)
    box.sh(f"systemctl restart {HUB_UNIT}")
    wait_for(lambda: hub_answers(ada), "the hub after its restart")
    assert box.main_pid(HUB_UNIT) != hub
    survivor.is_unharmed()


def test_a_deploy_that_changes_nothing_interrupts_nothing(
    box: Operator, survivor: Survivor
) -> None:
    hub = box.main_pid(HUB_UNIT)
    assert box.deploy()["success"] == 0
    assert box.main_pid(HUB_UNIT) == hub
    survivor.is_unharmed()


def test_a_deploy_of_another_hub_configuration_interrupts_no_kernel(
    box: Operator, ada: User, survivor: Survivor
) -> None:
    hub = box.main_pid(HUB_UNIT)
    settings = box.settings()
    settings["hub"]["admins"] = ["ada"]
    settings["hub"]["extra_config"] = (
        "c.JupyterHub.template_vars = {'announcement': 'Closed on Friday'}"
    )
    assert shown_to(ada) == {"announcement": False, "admin page": 403}
    try:
        box.deploy(settings)
        assert shown_to(ada) == {"announcement": True, "admin page": 200}
    finally:
        box.deploy()
    # Rights go with the name in the settings, as they came.
    assert shown_to(ada) == {"announcement": False, "admin page": 403}
    assert box.main_pid(HUB_UNIT) != hub
    survivor.is_unharmed()


def shown_to(user: User) -> dict[str, object]:
    """What a user sees of the hub's configuration."""
    return {
        "announcement": "Closed on Friday" in user.fetch(f"{user.hub}/hub/home")[2],
        "admin page": user.fetch(f"{user.hub}/hub/admin")[0],
    }


def test_a_changed_environment_is_for_new_kernels(
    restored: Operator, ada: User, survivor: Survivor
) -> None:
    hub = restored.main_pid(HUB_UNIT)
    survivor.is_unharmed()
    survivor.begin(IMPORT)
    settings = restored.settings()
    # Nothing to go back to is kept; but what runs is.
    settings["keep"] = 1
    settings["environments"][0]["conda"].append("six=1.16.0")
    restored.sh("mkdir -p /opt/conda/releases/python3/0123456789ab/half")
    restored.deploy(settings)
    link = restored.sh("readlink -f /opt/conda/envs/python3").strip()
    assert link != survivor.prefix
    restored.sh(f"test -e {survivor.prefix}/release.json")
    restored.sh("! test -e /opt/conda/releases/python3/0123456789ab")
    with ada.kernel("python3") as new:
        assert new.execute("import six, sys; print(six.__version__, sys.prefix)") == (
            f"1.16.0 {link}"
        )
    wait_for(lambda: not restored.sh(f"pgrep -f {link}/", check=False), "the new kernel's end")

    started = time.monotonic()
    back = restored.pyinfra("-y", "--data", "env=python3", "tasks/rollback.py", settings=settings)
    assert back.returncode == 0, back.stdout + back.stderr
    print(f"python3 was rolled back in {time.monotonic() - started:.1f} s")
    assert "moves python3 on to what is declared" in back.stdout + back.stderr
    with ada.kernel("python3") as new:
        assert new.execute("import sys; print(sys.prefix)") == survivor.prefix

    settings = {**restored.settings(), "keep": 1}
    assert restored.changed(settings) == ["Kernelspecs | Publish the environments' kernels"]
    assert restored.changed(settings) == []
    # It was current in between, and nobody is in there.
    restored.sh(f"! test -e {link}")
    survivor.is_unharmed()
    old = survivor.kernel
    assert old.execute("import importlib.util as u; print(u.find_spec('six'))") == "None"
    # A hub has no part in it.
    assert restored.main_pid(HUB_UNIT) == hub


def test_a_proxy_that_dies_is_back_and_finds_every_server(box: Operator, ada: User) -> None:
    kernel = ada.kernel("python3")
    kernel.execute("variable = 42")
    hub, proxy = box.main_pid(HUB_UNIT), box.main_pid(PROXY_UNIT)
    box.sh(f"kill -KILL {proxy}")
    wait_for(lambda: ada.fetch(f"{ada.server}api/status")[0] == 200, "a way to the server", 30)
    assert box.main_pid(PROXY_UNIT) != proxy
    assert box.main_pid(HUB_UNIT) == hub
    # The dead one took the open connections along, and nothing else.
    kernel.socket.close()
    with Kernel(ada, kernel.identity) as again:
        assert again.execute("print(variable)") == "42"
