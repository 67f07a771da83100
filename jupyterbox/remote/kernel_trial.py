"""Start every kernel of a release as a user's server would, and ask it who it is.

Needs the hub's Python, which has jupyter_client.
"""

import glob
import json
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from reasons import last_line
from release import Failure, say

PATIENCE = 120  # seconds for a kernel's first answer; a cold disk takes 20
TRIES = 4  # of a kernel that finds a port of its own taken
TAKEN = re.compile("address already in use|EADDRINUSE", re.IGNORECASE)


def check_kernels(release, spec):
    """Refuse a release without a kernel, or with one that does not answer."""
    found = glob.glob(f"{release}/share/jupyter/kernels/*/kernel.json")
    if not found:
        raise Failure("nothing in it brings a kernel: add ipykernel, r-irkernel or another")
    for path in sorted(found):
        name = Path(path).parent.name
        with tempfile.TemporaryDirectory() as home:
            write(Path(home, "kernels", name), startable(path, name, release, spec))
            say(f"starting its kernel {name}")
            if reason := attempt(name, home):
                raise Failure(f"its kernel {name} does not start: {reason}")


def startable(path, name, release, spec):
    """A kernelspec with what a published one has: its program's path, and its environment."""
    try:
        kernel = json.loads(Path(path).read_text())
        program, *arguments = kernel["argv"]
    except (ValueError, KeyError, TypeError):
        raise Failure(f"its kernel {name} is no kernelspec") from None
    there = shutil.which(program, path=f"{release}/bin")
    if not (there or os.access(program, os.X_OK)):
        raise Failure(f"its kernel {name} starts {program}, which is not there")
    env = {
        **kernel.get("env", {}),
        "PATH": f"{release}/bin:${{PATH}}",
        "CONDA_PREFIX": str(release),
        "CONDA_DEFAULT_ENV": spec["name"],
        **spec["variables"],
    }
    return {**kernel, "argv": [there or program, *arguments], "env": env}


def write(directory, kernel):
    """Put a kernelspec where jupyter_client is told to look."""
    directory.mkdir(parents=True)
    (directory / "kernel.json").write_text(json.dumps(kernel))


def attempt(name, home):
    """Why a kernel does not start; None where it does. It gets a home that leaves no trace."""
    os.environ.update(HOME=home, JUPYTER_RUNTIME_DIR=f"{home}/runtime")
    for _ in range(TRIES):
        said = complaint(name, home)
        # Its ports are chosen before it binds them: meanwhile anybody can have taken one.
        if said is None or not TAKEN.search(said):
            break
    return said and last_line(said)


def complaint(name, home):
    """What a kernel that does not start says, all of it; None where it starts."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

    specs = KernelSpecManager(kernel_dirs=[f"{home}/kernels"], ensure_native_kernel=False)
    manager = KernelManager(kernel_name=name, kernel_spec_manager=specs)
    with tempfile.TemporaryFile() as log:
        try:
            manager.start_kernel(cwd=home, stdout=log, stderr=log)
            client = manager.blocking_client()
            client.start_channels()
            client.wait_for_ready(timeout=PATIENCE)
            return None
        except Exception as error:
            log.seek(0)
            return log.read().decode(errors="replace").strip() or str(error) or repr(error)
        finally:
            with suppress(Exception):
                manager.shutdown_kernel(now=True)
