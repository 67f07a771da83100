"""The hub's releases on a real box: an upgrade that is broken, the way back, the database's schema.

Other releases are made of the one that is there, in a second: they run, and nothing is downloaded.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

from jupyterbox import layout
from jupyterbox.layout import HUB_UNIT, PROXY_UNIT
from jupyterbox.settings import Hub
from tests.box.conftest import Operator
from tests.box.hub_releases import (
    SQLITE,
    current,
    release_like,
    release_of_a_newer_schema,
    schema,
)
from tests.box.locks import lock_with
from tests.box.user import User

pytestmark = pytest.mark.once


def rolled_back(box: Operator, *data: str, fails: bool = False) -> str:
    """Roll back; what was said."""
    options = [option for value in data for option in ("--data", value)]
    run = box.pyinfra("-y", *options, "tasks/rollback.py")
    assert (run.returncode != 0) == fails, run.stdout + run.stderr
    return run.stdout + run.stderr


@contextmanager
def serving(box: Operator) -> Iterator[Counter[str]]:
    """What the hub's health page said meanwhile, again and again, by its status."""
    said: Counter[str] = Counter()
    opener, done = build_opener(ProxyHandler({})), threading.Event()

    def ask() -> None:
        while not done.wait(0.1):
            try:
                said[str(opener.open(f"{box.machine.url}/hub/health", timeout=10).status)] += 1
            except OSError as error:
                said[str(error)] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield said
    finally:
        done.set()
        thread.join()


@pytest.fixture
def declared(restored: Operator) -> Iterator[Operator]:
    """The box, whose other releases are gone afterwards."""
    mine = current(restored)
    yield restored
    # The declared one runs again as soon as it is deployed.
    restored.deploy()
    assert current(restored) == mine
    others = f"cd {layout.RELEASES}; ls | grep -vx {mine} | xargs -r rm -rf; rm -f .history"
    restored.sh(f"{others}; rm -f {layout.DATABASE}.*")


def test_a_broken_upgrade_is_never_switched_to(box: Operator, tmp_path: Path) -> None:
    before, pid = current(box), box.main_pid(HUB_UNIT)
    settings = box.settings()
    settings["hub"]["lock"] = str(lock_with(tmp_path / "lock", "alembic"))
    with serving(box) as said:
        run = box.pyinfra("-y", "deploy.py", settings=settings)
    assert run.returncode != 0
    assert "alembic" in run.stdout + run.stderr
    assert set(said) == {"200"}
    assert (current(box), box.main_pid(HUB_UNIT)) == (before, pid)
    assert box.sh(f"ls {layout.RELEASES}").split() == [before]


def test_a_release_that_is_built_and_whose_hub_does_not_start_is_refused_on_trial(
    declared: Operator, ada: User, tmp_path: Path
) -> None:
    """No package needs the spawner, but the configuration does."""
    box, before, pid = declared, current(declared), declared.main_pid(HUB_UNIT)
    settings = box.settings()
    lock = lock_with(tmp_path / "lock", "jupyterhub-systemdspawner")
    settings["hub"]["lock"] = str(lock)
    with serving(box) as said, ada.kernel("python3") as kernel:
        kernel.execute("variable = 42")
        run = box.pyinfra("-y", "deploy.py", settings=settings)
        assert kernel.execute("print(variable)") == "42"
    assert run.returncode != 0
    told = " ".join((run.stdout + run.stderr).split())
    assert "systemdspawner" in told, "the reason"
    assert "the hub was left as it is" in told
    assert set(said) == {"200"}
    assert (current(box), box.main_pid(HUB_UNIT)) == (before, pid)
    [built] = set(box.sh(f"ls {layout.RELEASES}").split()) - {before}
    assert box.sh(f"ls {layout.RELEASES}/{built}/release.json"), "it was complete"


def test_a_release_whose_hub_does_not_start_is_left_again(declared: Operator, ada: User) -> None:
    box, before = declared, current(declared)
    proxy = box.main_pid(PROXY_UNIT)
    prefix = release_like(box, "broken")
    box.sh(
        f"""sed -i '1i raise SystemExit("it cannot be")' \\
            {prefix}/lib/*/site-packages/jupyterhub/app.py"""
    )
    with ada.kernel("python3") as kernel:
        kernel.execute("variable = 42")
        said = rolled_back(box, "release=broken", fails=True)
        assert "it cannot be" in said, "the reason"
        assert f"It was switched back to release {before}, and answers again." in said
        assert kernel.execute("print(variable)") == "42"
    assert (current(box), box.main_pid(PROXY_UNIT)) == (before, proxy)
    assert ada.fetch(f"{ada.hub}/hub/home")[0] == 200
    assert box.deploy()["success"] == 0


def test_the_way_back_takes_nobody_along(declared: Operator, ada: User) -> None:
    box, before = declared, current(declared)
    release_like(box, "other")
    with ada.kernel("python3") as kernel:
        kernel.execute("variable = 42")
        server, proxy = box.main_pid("jupyter-ada-singleuser"), box.main_pid(PROXY_UNIT)
        for release in ("other", before):
            data = ["release=other"] if release == "other" else []
            said = rolled_back(box, *data)
            assert f"the hub answers, on release {release}" in said
            assert ("The next deploy stays there" in said) == (release == before)
            assert current(box) == release
        assert kernel.execute("print(variable)") == "42"
        assert box.main_pid("jupyter-ada-singleuser") == server
        assert box.main_pid(PROXY_UNIT) == proxy
    assert ada.fetch(f"{ada.server}api/status")[0] == 200


def test_a_newer_schema_and_back(declared: Operator, ada: User) -> None:
    box, before = declared, current(declared)
    head = schema(box)
    release_of_a_newer_schema(box, "newer")
    rolled_back(box, "release=newer")
    assert schema(box) == "abcdef012345"
    copy = f"{layout.DATABASE}.{before}"
    assert box.sh(f"stat -c %a {copy}").strip() == "600"
    # They come when the newer hub runs, and are gone with its database.
    box.person("late")
    said = " ".join(rolled_back(box).split())
    assert "made since are lost" in said
    assert (schema(box), current(box)) == (head, before)
    users = box.sh(f"{SQLITE.format(path=layout.DATABASE)} 'SELECT name FROM users'")
    assert "ada" in users
    assert "late" not in users
    kept = f"{layout.DATABASE}.newer"
    assert "late" in box.sh(f"{SQLITE.format(path=kept)} 'SELECT name FROM users'")
    assert ada.fetch(f"{ada.hub}/hub/home")[0] == 200


# What an upgrade of the system (Debian 12 to 13) leaves: the venv's python3 is there, and is of
# another minor version, which does not look where the packages are. The hub does not come again.
OF_ANOTHER_PYTHON = """
cd {releases}; mv {release} old; mv old/lib/python3* old/lib/python3.2
sed -i 's/"declared": "[^"]*"/"declared": "old"/; s/"id": "[^"]*"/"id": "old"/
    s/"python": "[^"]*"/"python": "3.2.1"/' old/release.json
ln -sfn releases/old {current}
old/bin/python -c 'import sys'; ! old/bin/python -c 'import jupyterhub' 2>/dev/null
systemctl restart {unit}; true"""


def test_a_hub_whose_python_went_with_an_upgrade_of_the_system_is_built_anew(
    declared: Operator,
) -> None:
    box, before = declared, current(declared)
    names = {"releases": layout.RELEASES, "current": layout.CURRENT, "unit": HUB_UNIT}
    box.sh(f"set -e; {OF_ANOTHER_PYTHON.format(release=before, **names)}")
    run = box.pyinfra("-y", "deploy.py")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "switched back" not in run.stdout + run.stderr
    assert current(box) == before
    box.sh(f"{layout.CURRENT}/bin/python -c 'import jupyterhub'")
    assert box.deploy()["success"] == 0


def test_an_upgrade_is_another_answer_to_the_same_settings(
    declared: Operator, tmp_path: Path
) -> None:
    box, before = declared, current(declared)
    settings = box.settings()
    settings["hub"]["lock"] = str(shutil.copytree(Hub().lock, tmp_path / "lock"))
    with open(tmp_path / "lock/requirements.in", "a") as requirements:
        requirements.write("humanize\n")
    upgraded(box, settings)
    assert current(box) == f"{before}-2"
    box.sh(f"{layout.CURRENT}/bin/python -c 'import humanize'")
    assert box.deploy()["success"] == 0, "it is what the settings ask for, too"
    assert upgraded(box, settings) == 0, "nothing is newer"
    rolled_back(box)
    assert current(box) == before
    assert box.deploy()["success"] == 0, "and so is this one"


def upgraded(box: Operator, settings: dict[str, object]) -> int:
    """Deploy with an upgrade of the hub; how many operations changed something."""
    run = box.pyinfra("--json", "-y", "--data", "upgrade=hub", "deploy.py", settings=settings)
    assert run.returncode == 0, run.stdout + run.stderr
    return int(json.loads(run.stdout)["results"]["totals"]["success"])
