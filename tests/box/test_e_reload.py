"""A reload of the driver under a real systemd: it outlives its connection, and its own end.

No module is there to be unloaded: a tree and a modprobe of its own stand for them.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator

import pytest

from jupyterbox.program import program
from operations.gpu_reload import DETACHED, SERVICES, UNDO, UNIT
from tests.box.conftest import Operator

TREE = "/srv/reload"
DAEMON = "nvidia-persistenced.service"
# It waits before it unloads the last module, until it is told to go on.
MADE = f"""
set -e
mkdir -p {TREE}/proc {TREE}/sys/module/nvidia {TREE}/sys/module/nvidia_uvm
touch {TREE}/wait
cat >/usr/local/sbin/modprobe <<'END'
#!/bin/sh
case $* in
'-r nvidia') while [ -e {TREE}/wait ]; do touch {TREE}/waits; sleep 0.1; done ;;
esac
case $1 in
-r) rm -r {TREE}/sys/module/$2 ;;
*) mkdir -p {TREE}/sys/module/$1 ;;
esac
END
chmod 755 /usr/local/sbin/modprobe
printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/run/systemd/system/{DAEMON}
systemctl daemon-reload
systemctl start {DAEMON}
"""
CLEAN = f"""
systemctl stop {DAEMON}
rm -rf {TREE} /usr/local/sbin/modprobe /run/systemd/system/{DAEMON}
systemctl daemon-reload
"""
ENDED = f"timeout 60 sh -c 'while systemctl is-active -q {UNIT}; do sleep 0.2; done'"
AS_IT_WAS = f"systemctl is-active -q {DAEMON} && ls {TREE}/sys/module && ! ls {UNDO} 2>/dev/null"


@pytest.fixture
def reloading(bare: Operator) -> Iterator[subprocess.Popen[str]]:
    """A reload that has stopped the service and unloaded one module, and its connection."""
    bare.sh(MADE)
    asked = program("reload_driver", services=SERVICES, undo=UNDO, root=TREE)
    command = f"{DETACHED} {asked.get_raw_value()}"
    with subprocess.Popen(
        [*bare.machine.ssh_command(), f"sh -c {shlex.quote(command)}"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as connection:
        try:
            bare.sh(f"timeout 60 sh -c 'until [ -e {TREE}/waits ]; do sleep 0.1; done'")
            bare.sh(f"! systemctl is-active -q {DAEMON} && [ ! -e {TREE}/sys/module/nvidia_uvm ]")
            yield connection
        finally:
            connection.kill()
            bare.sh(f"rm -f {TREE}/wait; {ENDED}; {CLEAN}")


@pytest.mark.once
def test_a_reload_outlives_its_connection(bare: Operator, reloading: subprocess.Popen[str]) -> None:
    reloading.kill()
    reloading.wait()
    second = bare.machine.run(f"{DETACHED} true", check=False)
    assert second.returncode == 1 and "is under way" in second.stderr
    bare.sh(f"rm {TREE}/wait; {ENDED}")
    assert bare.sh(AS_IT_WAS).split() == ["nvidia", "nvidia_uvm"]


@pytest.mark.once
@pytest.mark.parametrize("whom", ["main", "all"])
def test_a_reload_that_is_killed_is_put_back(
    bare: Operator, reloading: subprocess.Popen[str], whom: str
) -> None:
    bare.sh(f"systemctl kill --signal=KILL --kill-who={whom} {UNIT} && rm {TREE}/wait")
    # systemd has put back what was taken, and starts it again.
    reloading.communicate(timeout=60)
    assert bare.sh(AS_IT_WAS).split() == ["nvidia", "nvidia_uvm"]
