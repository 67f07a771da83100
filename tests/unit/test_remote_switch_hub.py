"""The program that switches the hub to another release, with a systemd that is made up."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyterbox.program import program, source
from tests.unit import remote
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
    assert "It was switched back to release now, with its database of 20" in done.stderr
    assert done.stderr.endswith(", and answers again.\n")
    assert (box.current, box.users) == ("now", ["ada"])
    # What `now` had left is the database again.
    assert box.schemas == {"": "b2", ".new": "c3"}
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


@pytest.fixture
def ahead(box: Box) -> Box:
    """A box that has gone on to a newer schema, with `ada` before it and `bob` since."""
    box.add_user("ada")
    assert box.switch("new").returncode == 0
    box.add_user("bob")
    return box


def test_a_way_back_that_fails_leaves_everybody_there(ahead: Box) -> None:
    """A newer release understands the older database, too; its own is another one."""
    ahead.good = {"new"}
    left = os.stat(f"{ahead.database}.now").st_mtime_ns
    done = ahead.switch("now", restore=True)
    assert "switched back to release new, with its database of 20" in done.stderr
    assert (ahead.current, ahead.users) == ("new", ["ada", "bob"])
    assert ahead.schemas == {"": "c3", ".now": "b2"}
    # It is no newer for having been tried.
    assert os.stat(f"{ahead.database}.now").st_mtime_ns == left
    ahead.good = {"now"}
    assert ahead.switch("now", restore=True).returncode == 0
    assert ahead.users == ["ada"]


def dies(box: Box, when: str, release: str, **options: Any) -> None:
    """Have a switch be killed when systemctl is asked for something."""
    path = box.folder / "bin/systemctl"
    works = path.read_text()
    path.write_text(works.replace("in\n", f'in\n    "{when}"*) kill -9 $PPID; exit ;;\n', 1))
    assert box.switch(release, **options).returncode == -9
    path.write_text(works)


@pytest.mark.parametrize("restore", [False, True])
def test_a_way_back_that_dies_before_the_restart_is_gone_to_its_end(
    ahead: Box, restore: bool
) -> None:
    """By the next deploy, or by another rollback: the copy lies ready, the database is newer."""
    dies(ahead, "reset-failed", "now", restore=True)
    assert (ahead.current, ahead.schemas[""]) == ("now", "c3")
    done = ahead.switch("now", restore=restore)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"lost. The newer one is kept as {ahead.database}.new." in done.stdout
    assert (ahead.current, ahead.users) == ("now", ["ada"])
    assert ahead.schemas == {"": "b2", ".new": "c3", ".now": "b2"}


def test_a_way_back_that_died_and_fails_is_no_loss_either(ahead: Box) -> None:
    dies(ahead, "reset-failed", "now", restore=True)
    ahead.good = {"new"}
    assert "switched back to release new" in ahead.switch("now").stderr
    assert (ahead.current, ahead.users) == ("new", ["ada", "bob"])


def test_a_switch_back_that_dies_is_gone_to_its_end(ahead: Box) -> None:
    """It has laid what `new` had left, and pointed there."""
    ahead.good = {"new"}
    path = ahead.folder / "bin/journalctl"
    says = path.read_text()
    # What is asked next is the restart of `new`.
    path.write_text(f"#!/bin/sh\ntouch {ahead.folder}/back\n")
    systemctl = ahead.folder / "bin/systemctl"
    works = systemctl.read_text()
    kill = f'"reset-failed"*) [ ! -e {ahead.folder}/back ] || kill -9 $PPID ;;'
    systemctl.write_text(works.replace("in\n", f"in\n    {kill}\n", 1))
    assert ahead.switch("now", restore=True).returncode == -9
    path.write_text(says)
    systemctl.write_text(works)
    assert (ahead.current, ahead.schemas[""]) == ("new", "b2")
    assert ahead.switch("new").returncode == 0
    assert (ahead.users, ahead.schemas) == (["ada", "bob"], {"": "c3", ".now": "b2"})


def test_the_release_that_a_way_back_came_from_gets_its_own_database(ahead: Box) -> None:
    """The way back died when the hub did not answer yet, and somebody goes on again."""
    dies(ahead, "show -p NRestarts", "now", restore=True)
    assert (ahead.current, ahead.schemas[""]) == ("now", "b2")
    assert ahead.switch("new", restore=True).returncode == 0
    assert ahead.users == ["ada", "bob"]


def test_of_the_copies_of_a_schema_the_newest_is_taken(box: Box) -> None:
    box.release("next", ["a1", "b2"])
    box.good.add("next")
    box.switch("new")
    box.switch("now", restore=True)
    os.utime(f"{box.database}.now", (1, 1))
    box.switch("next")
    box.add_user("dave")
    box.switch("new")
    # `now` has left one, too, long ago.
    os.utime(f"{box.database}.next", (86400, 86400))
    done = box.switch("now", restore=True)
    assert "the database is that of 1970-01-02 00:00:00+00:00 again" in done.stdout
    assert box.users == ["dave"]


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


def test_a_mark_that_says_nothing_is_as_good_as_the_history(box: Box) -> None:
    (box.releases / ".switching").write_text("")
    box.runs("new", left="now")
    box.starts()
    box.good = {"now"}
    assert "switched back to release now" in box.switch("new").stderr
    assert (box.current, box.schemas[""]) == ("now", "b2")


def test_a_mark_that_was_forgotten_counts_no_more_where_the_hub_is_well(box: Box) -> None:
    """The deploy has died between the hub's answer and that."""
    box.runs("new", left="now")
    box.starts()
    (box.releases / ".switching").write_text("old\n")
    box.good = {"new"}
    with box.running(UNIT, "new"):
        assert "switched back to release new" in box.switch("now", restore=True).stderr
    assert box.current == "new"


def test_who_goes_where_an_interrupted_switch_came_from_can_return(box: Box) -> None:
    """And be it that the hub is down in between."""
    box.runs("new", left="now")
    box.starts()
    (box.releases / ".switching").write_text("now\n")
    box.good = {"new"}
    assert "switched back to release new" in box.switch("now", restore=True).stderr
    assert box.current == "new"


SYNCED = """\
import os
fsync, rename, done = os.fsync, os.rename, []
def noted(descriptor):
    done.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
    fsync(descriptor)
def renamed(source, target):
    if target.endswith("/current"):
        print("synced:", *done, flush=True)
    rename(source, target)
os.fsync, os.rename = noted, renamed
"""


def test_mark_and_history_are_on_the_disk_before_the_link(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "program", lambda *a, **k: prefixed(program(*a, **k)))
    [first, *_] = box.switch("new").stdout.splitlines()
    assert first == "synced: .switching.new releases .history releases"


def prefixed(command: Any) -> Any:
    """A program that says what it has on the disk when the link is about to change."""
    command.bits[3].obj = SYNCED + command.bits[3].obj
    return command


FILL = "cat /dev/zero > {}/filler 2>/dev/null; true"


@pytest.fixture
def small(box: Box) -> Iterator[Box]:
    """A box whose database has a small disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a disk")
    place = box.database.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", place], check=True)
    try:
        box.have("b2")
        with closing(sqlite3.connect(box.database)) as connection, connection:
            connection.execute("CREATE TABLE large AS SELECT zeroblob(80000)")
        yield box
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_full_by_then_is_no_reason_not_to_go_back(small: Box) -> None:
    small.tool("journalctl", f"#!/bin/sh\n{FILL.format(small.database.parent)}\n")
    small.good = {"now"}
    small.add_user("ada")
    done = small.switch("new")
    assert "switched back to release now" in done.stderr
    assert done.stderr.endswith("and answers again.\n")
    assert (small.current, small.users) == ("now", ["ada"])


def test_a_disk_that_is_full_before_is_told(small: Box) -> None:
    small.switch("new")
    subprocess.run(FILL.format(small.database.parent), shell=True, check=True)
    done = small.switch("now", restore=True)
    assert done.stderr == (
        f"{small.database} cannot be copied: database or disk is full. The hub was left as it is.\n"
    )
    assert small.current == "new"
    # The hub needs what there is of room.
    assert not [*small.database.parent.glob("*.new")]


def test_a_release_of_another_python_is_not_gone_back_to(box: Box) -> None:
    """The system was upgraded: the venv's python3 is another one, without the packages."""
    (box.releases / "now/release.json").write_text('{"proxy": "p", "python": "3.2.1"}')
    box.good = {"now"}
    done = box.switch("new")
    assert "There is no release before it to go back to." in done.stderr
    assert box.current == "new"
    # Nobody is stopped by a mark that leads nowhere.
    assert not (box.releases / ".switching").exists()


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
