"""The program that switches the hub to another release, with a systemd that is made up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyterbox.program import source
from tests.unit.conftest import Server
from tests.unit.remote import call
from tests.unit.test_remote_schema import Hub

UNIT, PROXY = "jupyterhub.service", "jupyterhub-proxy.service"

# What it was asked; a restart of the hub prepares the database first, as the unit does.
SYSTEMCTL = """\
#!/bin/sh
case "$*" in
    "show -p NRestarts"*) echo >> {folder}/polls; wc -l < {folder}/polls; echo 0 ;;
    "show -P MainPID"*) cat {folder}/$4 2>/dev/null ;;
    "restart jupyterhub.service")
        echo "$*" "$(readlink {root}/current)" >> {folder}/asked
        {python} -I -c "$(cat {folder}/prepare.py)" {root}/current {database} ;;
    *) echo "$*" >> {folder}/asked ;;
esac
"""


class Box(Hub):
    """The hub of a box, which answers on the releases that are good."""

    def __init__(self, folder: Path, server: Server) -> None:
        super().__init__(folder)
        self.folder, self.server = folder, server
        self.good = {"old", "now", "new"}
        (folder / "prepare.py").write_text(source("prepare_database"))
        script = SYSTEMCTL.format(
            folder=folder, root=self.root, database=self.database, python=sys.executable
        )
        self.tool("systemctl", script)
        self.tool("journalctl", '#!/bin/sh\nfor unit; do :; done\necho "$unit is out of memory"\n')
        server.pages = self  # type: ignore[assignment]
        self.runs("now")

    @contextmanager
    def running(self, unit: str, release: str) -> Iterator[None]:
        """Have a unit run a program of a release."""
        program = self.releases / release / "bin/node"
        program.write_bytes(Path("/bin/sleep").read_bytes())
        program.chmod(0o755)
        with subprocess.Popen([program, "60"]) as process:
            (self.folder / unit).write_text(f"{process.pid}\n")
            try:
                yield
            finally:
                process.kill()

    def tool(self, name: str, script: str) -> None:
        """A command of the box."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    def get(self, path: str, default: tuple[int, bytes]) -> tuple[int, bytes]:
        """A page, as its web server asks for it."""
        return (200, b"") if self.current in self.good else default

    @property
    def current(self) -> str:
        """The release that the link names."""
        return os.path.basename(os.readlink(self.root / "current"))

    def switch(self, release: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the program."""
        return call(
            "switch_hub",
            env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}"},
            root=str(self.root),
            release=release,
            hub=UNIT,
            proxy=PROXY,
            database=str(self.database),
            url=f"{self.server.url}/hub/health",
            timeout=60,
            **{"with_proxy": False, "restore": False, **options},
        )

    @property
    def asked(self) -> list[str]:
        """What systemctl was asked for, the restarts that is."""
        lines = (self.folder / "asked").read_text().splitlines()
        return [line for line in lines if line.startswith("restart")]

    @property
    def history(self) -> list[str]:
        """The releases that were left."""
        path = self.releases / ".history"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def box(tmp_path: Path, server: Server) -> Box:
    return Box(tmp_path, server)


def test_a_switch_restarts_the_hub_on_a_migrated_database(box: Box) -> None:
    done = box.switch("new")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("the hub answers, on release new (")
    # Nobody can say what the proxy runs from.
    assert box.asked == [f"restart {PROXY}", f"restart {UNIT} releases/new"]
    assert (box.current, box.history) == ("new", ["now"])
    assert box.schemas == {"": "c3", ".now": "b2"}
    assert not (box.releases / ".switching").exists()


def test_a_hub_that_does_not_come_is_switched_back_with_its_database(box: Box) -> None:
    box.good = {"now"}
    box.add_user("ada")
    done = box.switch("new")
    assert done.returncode == 1
    assert f"--- {UNIT}, last lines of its journal:\n{UNIT} is out of memory\n" in done.stderr
    assert f"{UNIT} ends whenever it is started" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.endswith("It was switched back to release now, and answers again.")
    assert (box.current, box.users) == ("now", ["ada"])
    assert box.schemas == {"": "b2", ".new": "c3", ".now": "b2"}
    # It was left for nothing: who goes back goes to none of the two.
    assert box.history == []
    assert not (box.releases / ".switching").exists()


def test_a_migration_that_fails_is_no_loss_of_time(box: Box) -> None:
    box.release("bad", ["a1", "b2", "d4"], head="broken")
    done = box.switch("bad")
    assert f"{UNIT} does not start." in done.stderr
    assert "switched back to release now" in done.stderr
    assert (box.current, box.schemas[""]) == ("now", "b2")


def test_a_hub_that_nobody_can_bring_back_is_told(box: Box) -> None:
    box.good = set()
    done = box.switch("new")
    assert "Neither does it on release now, which it was switched back to" in done.stderr
    (box.releases / "now/bin/python").unlink()
    done = box.switch("new")
    assert "There is no release before it to go back to." in done.stderr


def test_a_release_without_its_interpreter_is_no_obstacle(box: Box) -> None:
    """The system's Python was upgraded: nothing could go back, and nothing has to."""
    python = box.releases / "now/bin/python"
    python.unlink()
    python.symlink_to("/usr/bin/python3.2")
    assert box.switch("new").returncode == 0
    assert box.current == "new"


def test_back_to_an_older_schema_with_the_database_from_then(box: Box) -> None:
    box.add_user("ada")
    box.switch("new")
    box.add_user("bob")
    done = box.switch("now", restore=True)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()[1]
    assert said.startswith("the database is that of 20")
    assert "made since are lost" in said
    assert said.endswith(f"The newer one is kept as {box.database}.new.")
    assert (box.current, box.users) == ("now", ["ada"])
    assert box.schemas == {"": "b2", ".new": "c3", ".now": "b2"}
    # And on again.
    box.switch("new")
    assert (box.users, box.schemas[""]) == (["ada"], "c3")


def test_back_to_the_same_schema_loses_nothing(box: Box) -> None:
    box.release("next", ["a1", "b2"])
    box.switch("next")
    box.add_user("bob")
    done = box.switch("now", restore=True)
    assert len(done.stdout.splitlines()) == 1
    assert (box.current, box.users, box.schemas) == ("now", ["bob"], {"": "b2"})


def test_a_way_back_without_a_copy_is_refused(box: Box) -> None:
    done = box.switch("old", restore=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"release old is older than the database {box.database}, and there is no copy of that "
        "from before: the hub was left as it is.\n"
    )
    assert (box.current, box.schemas) == ("now", {"": "b2"})


def test_what_was_not_finished_is_no_copy(box: Box) -> None:
    box.switch("new")
    (box.database.parent / "hub.sqlite.now").unlink()
    for name in ("migrated", "now.new", "for-old"):
        box.have("b2")
        box.database.rename(f"{box.database}.{name}")
    box.have("c3")
    done = box.switch("now", restore=True)
    assert "there is no copy of that from before" in done.stderr


def test_an_older_release_that_was_declared_is_refused(box: Box) -> None:
    done = box.switch("old")
    assert "tasks/rollback.py goes back to it" in done.stderr
    assert not (box.folder / "asked").exists()
    assert "there is no release x in" in box.switch("x").stderr


def test_a_switch_that_was_interrupted_still_knows_where_to_go_back(box: Box) -> None:
    """The run has died after the rename: the link names one that does not come up."""
    (box.releases / ".switching").write_text("now\n")
    box.runs("new", left="now")
    box.starts()
    box.good = {"now"}
    done = box.switch("new")
    assert "switched back to release now" in done.stderr
    assert (box.current, box.schemas[""]) == ("now", "b2")


def test_two_switches_take_their_turns(box: Box) -> None:
    lock = box.releases / ".switch.lock"
    hold = f"exec 9> {lock}; flock 9; echo; sleep 1; readlink {box.root}/current"
    with subprocess.Popen(["/bin/sh", "-c", hold], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        holder.stdout.readline()
        box.switch("new")
        assert holder.stdout.read() == "releases/now\n"


def test_a_proxy_stays_that_is_made_of_the_same(box: Box) -> None:
    with box.running(PROXY, "now"):
        box.switch("new")
        assert box.asked == [f"restart {UNIT} releases/new"]
        box.switch("now", restore=True, with_proxy=True)
        assert box.asked[1:] == [f"restart {PROXY}", f"restart {UNIT} releases/now"]
        (box.releases / "new/release.json").write_text('{"proxy": "another"}')
        box.switch("new")
        assert box.asked[3:] == [f"restart {PROXY}", f"restart {UNIT} releases/new"]


def test_a_switch_that_had_come_to_its_end_but_for_the_mark_is_left_alone(box: Box) -> None:
    (box.releases / ".switching").write_text("now\n")
    box.runs("new", left="now")
    with box.running(UNIT, "new"):
        assert box.switch("new").returncode == 0
        assert not (box.folder / "asked").exists()
        assert not (box.releases / ".switching").exists()
        # One that is ill is restarted, and taken back.
        (box.releases / ".switching").write_text("now\n")
        box.good = {"now"}
        assert "switched back to release now" in box.switch("new").stderr
    assert box.current == "now"
