"""How long a rollback of the hub takes while people work: python -m bench.rollback [--name BOX].

On a demo box that is up, three people have a server with a kernel. The hub goes from
its release to another one of the same make and back, five times, and five times over a change of
its database's schema. What is printed are medians with their ranges, in seconds: the task as a
whole (pyinfra included), what the switch itself says that it took on the box, and for how long the
hub's page was away. In the end every server and every kernel must be those of the beginning. The
people and the other releases are removed again.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import click

from jupyterbox import layout
from jupyterbox.demo.machine import Machine
from tests.box.conftest import Operator
from tests.box.hub_releases import current, release_like, release_of_a_newer_schema
from tests.box.user import User

RUNS = 5
PEOPLE = ("bench-a", "bench-b", "bench-c")
SAME, NEWER = "bench-same", "bench-newer"


@contextmanager
def working(box: Operator) -> Iterator[None]:
    """Have people at work; hold at the end that nothing of theirs was lost."""
    with ExitStack() as kernels:
        at_work = []
        for name in PEOPLE:
            user: User = box.person(name)
            user.start_server()
            kernel = kernels.enter_context(user.kernel("python3"))
            kernel.execute("variable = 42")
            at_work.append((kernel, f"jupyter-{name}-singleuser"))
        before = [box.main_pid(unit) for _, unit in at_work]
        yield
        after = [box.main_pid(unit) for _, unit in at_work]
        said = {kernel.execute("print(variable)") for kernel, _ in at_work}
        if after != before or said != {"42"}:
            sys.exit(f"servers {before} became {after}, the kernels say {said}")


@contextmanager
def away(box: Operator) -> Iterator[list[float]]:
    """For how long the hub does not answer meanwhile; the one number is there at the end."""
    opener, done, found = build_opener(ProxyHandler({})), threading.Event(), [0.0]

    def ask() -> None:
        since = None
        while not done.is_set() or since is not None:
            try:
                opener.open(f"{box.machine.url}/hub/health", timeout=10).close()
                if since is not None:
                    found[0], since = time.monotonic() - since, None
            except OSError:
                since = since or time.monotonic()
            time.sleep(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def rolled_back(box: Operator, release: str) -> tuple[float, float, float]:
    """Go to a release: the task's seconds, the switch's, and those without the hub."""
    started = time.monotonic()
    with away(box) as gone:
        run = box.pyinfra("-y", "--data", f"release={release}", "tasks/rollback.py")
        seconds = time.monotonic() - started
    said = " ".join((run.stdout + run.stderr).split())
    switch = re.search(rf"on release {release} \(([\d.]+) s\)", said)
    if run.returncode or not switch:
        sys.exit(run.stdout + run.stderr)
    return seconds, float(switch[1]), gone[0]


def measure(box: Operator, release: str, other: str) -> list[tuple[float, float, float]]:
    """Roll back to a release from another one, again and again."""
    found = []
    for _ in range(RUNS):
        rolled_back(box, other)
        found.append(rolled_back(box, release))
    return found


def clean(box: Operator, release: str) -> None:
    """Remove what was made; the hub is at its release."""
    if current(box) != release:
        rolled_back(box, release)
    for name in PEOPLE:
        box.sh(f"systemctl stop jupyter-{name}-singleuser; userdel -rf {name}", check=False)
    names = " ".join((SAME, NEWER))
    box.sh(
        f"cd {layout.RELEASES} && rm -rf {names} && sed -i '/^bench-/d' .history && "
        f"rm -f {layout.DATABASE}.bench-* {layout.DATABASE}.{release}"
    )


def shown(times: tuple[float, ...]) -> str:
    """A median with its range."""
    return f"{statistics.median(times):6.2f} ({min(times):.2f}-{max(times):.2f})"


@click.command()
@click.option("--name", default="demo", show_default=True, help="The demo box.")
def main(name: str) -> None:
    """Measure on a demo box that is up."""
    print(f"{'rollback':<24}{'task':>22}{'switch':>22}{'without hub':>22}")
    with tempfile.TemporaryDirectory(prefix="jupyterbox-bench-") as directory:
        box = Operator(Machine.load(name), Path(directory))
        release = current(box)
        release_like(box, SAME)
        release_of_a_newer_schema(box, NEWER)
        try:
            with working(box):
                for what, other in (("same schema", SAME), ("older schema", NEWER)):
                    columns = zip(*measure(box, release, other), strict=True)
                    print(f"{what:<24}" + "".join(f"{shown(c):>22}" for c in columns), flush=True)
        finally:
            clean(box, release)


if __name__ == "__main__":
    main()
