"""The programs that give a release of the hub its database, and switch between releases."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import module

schema = module("schema")
prepare_database = module("prepare_database")

# As JupyterHub's own scripts are written: alembic's two ways, and one with a branch below it.
SCRIPT = '"""what it does\n\nRevision ID: {0}\n"""\nrevision = \'{0}\'\ndown_revision = {1}\n'
TYPED = 'revision: str = "{0}"\ndown_revision: str | None = {1}\n'

# The alembic of these releases: it writes down that it was there.
UPGRADE = """\
#!/bin/sh
for url; do :; done
[ "{head}" = broken ] && {{ echo "sqlite says no"; exit 1; }}
exec {python} - "${{url#sqlite:///}}" <<'END'
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as database:
    database.execute("UPDATE alembic_version SET version_num = '{head}'")
END
"""


class Hub:
    """A hub's directory with releases of three schemas, and its database."""

    def __init__(self, folder: Path) -> None:
        self.root, self.database = folder / "hub", folder / "state/hub.sqlite"
        self.releases = self.root / "releases"
        self.database.parent.mkdir()
        self.release("old", ["a1"])
        self.release("now", ["a1", "b2"])
        self.release("new", ["a1", "b2", "c3"])
        self.have("b2")

    def release(self, name: str, revisions: list[str], head: str = "") -> None:
        """A release that knows these schemas, each on top of the one before."""
        prefix = self.releases / name
        scripts = prefix / "lib/python3.13/site-packages/jupyterhub/alembic/versions"
        scripts.mkdir(parents=True)
        for number, revision in enumerate(revisions):
            below = repr(revisions[number - 1]) if number else "None"
            text = (TYPED if number % 2 else SCRIPT).format(revision, below)
            (scripts / f"{revision}_it.py").write_text(text)
        (prefix / "bin").mkdir()
        python = prefix / "bin/python"
        python.write_text(UPGRADE.format(head=head or revisions[-1], python=sys.executable))
        python.chmod(0o755)
        (prefix / "release.json").write_text('{"proxy": "p"}')

    def have(self, revision: str) -> None:
        """Have a database of a schema."""
        self.database.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("CREATE TABLE alembic_version (version_num)")
            connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
            connection.execute("CREATE TABLE users (name)")
        self.database.chmod(0o600)

    def have_ready(self, release: str, revision: str) -> None:
        """Have a database lie ready for a release, beside the one there is."""
        aside = self.database.rename(f"{self.database}.aside")
        self.have(revision)
        self.database.rename(f"{self.database}.for-{release}")
        aside.rename(self.database)

    def runs(self, name: str, left: str | None = None) -> None:
        """Have the link name a release, which another one was left for."""
        link = self.root / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(f"releases/{name}")
        if left:
            with open(self.releases / ".history", "a") as history:
                history.write(f"{left}\n")

    def starts(self) -> None:
        """Do what the unit does before the hub starts."""
        prepare_database.prepare(str(self.root / "current"), str(self.database))

    @property
    def schemas(self) -> dict[str, Any]:
        """Every database there is, with its schema."""
        files = sorted(self.database.parent.iterdir())
        return {f.name.removeprefix("hub.sqlite"): schema.revision(str(f)) for f in files}

    def add_user(self, name: str) -> None:
        """Somebody logs in."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("INSERT INTO users VALUES (?)", (name,))

    @property
    def users(self) -> list[str]:
        """Who is in the database."""
        with closing(sqlite3.connect(self.database)) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM users")]


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


# --- schemas ---


def test_the_schema_that_a_release_wants_is_the_one_on_top(hub: Hub) -> None:
    assert schema.revisions(str(hub.releases / "new")) == ("c3", {"a1", "b2", "c3"})
    assert schema.revisions(str(hub.root)) == (None, set())


def test_the_schema_that_a_database_has(hub: Hub, tmp_path: Path) -> None:
    assert schema.revision(str(hub.database)) == "b2"
    assert schema.revision(str(tmp_path / "nowhere")) is None
    (tmp_path / "text").write_text("no database")
    assert schema.revision(str(tmp_path / "text")) is None
    sqlite3.connect(tmp_path / "empty").close()
    assert schema.revision(str(tmp_path / "empty")) is None


def test_a_copy_is_whole_and_for_root_alone(hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    with closing(sqlite3.connect(hub.database)) as writer:
        writer.execute("INSERT INTO users VALUES ('ada')")
        writer.commit()
        writer.execute("BEGIN")
        schema.copy(str(hub.database), str(target))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("SELECT name FROM users").fetchall() == [("ada",)]
    assert not (tmp_path / "copy.new").exists()


# --- before a hub starts ---


def test_a_database_of_the_same_schema_is_left_alone(hub: Hub) -> None:
    hub.runs("now")
    before = hub.database.stat()
    hub.starts()
    assert hub.database.stat() == before
    assert hub.schemas == {"": "b2"}


def test_a_box_without_a_database_has_nothing_to_prepare(hub: Hub) -> None:
    hub.runs("new", left="now")
    hub.database.unlink()
    hub.starts()
    assert hub.schemas == {}
    # One that was just made has no schema yet: the hub gives it one.
    sqlite3.connect(hub.database).close()
    hub.starts()
    assert hub.schemas == {"": None}


def test_another_schema_is_migrated_once_and_the_old_one_kept(hub: Hub) -> None:
    hub.add_user("ada")
    hub.runs("new", left="now")
    hub.starts()
    assert hub.schemas == {"": "c3", ".now": "b2"}
    assert hub.users == ["ada"]
    assert stat.S_IMODE((hub.database.parent / "hub.sqlite.now").stat().st_mode) == 0o600
    hub.add_user("bob")
    hub.starts()
    assert hub.schemas == {"": "c3", ".now": "b2"}
    assert hub.users == ["ada", "bob"]


def test_a_migration_that_fails_leaves_the_database_as_it_was(hub: Hub) -> None:
    hub.release("bad", ["a1", "b2", "d4"], head="broken")
    hub.runs("bad", left="now")
    arguments = [sys.executable, "-I", "-c", source(), str(hub.root / "current"), str(hub.database)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"sqlite says no\n\n{hub.database} cannot be migrated; it is as it was.\n"
    assert hub.schemas == {"": "b2", ".now": "b2"}


def source() -> str:
    """The program as a release has it."""
    from jupyterbox.program import source

    return source("prepare_database")


@pytest.mark.parametrize("last", ["copy", "upgrade", "place"])
def test_a_migration_that_was_interrupted_is_made_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """Whatever comes last before the power goes: the next start ends the same."""
    hub.runs("new", left="now")
    hub.add_user("ada")

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(prepare_database, last, cut)
        hub.starts()
    assert hub.schemas[""] == "b2"
    hub.starts()
    assert (hub.schemas[""], hub.schemas[".now"], hub.users) == ("c3", "b2", ["ada"])


def test_an_older_release_refuses_a_newer_database(hub: Hub) -> None:
    hub.runs("old")
    with pytest.raises(ValueError, match="was used by a newer JupyterHub than that of old"):
        hub.starts()
    assert hub.schemas == {"": "b2"}


def test_what_a_hub_that_died_had_not_finished_is_undone(hub: Hub) -> None:
    hub.runs("new", left="now")
    hub.add_user("ada")
    dying = """if True:
        import os, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1])
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        for number in range(3000):
            connection.execute("INSERT INTO users VALUES (?)", ("x" * 100 + str(number),))
        os._exit(0)"""
    subprocess.run([sys.executable, "-c", dying, str(hub.database)], check=True)
    assert os.path.exists(f"{hub.database}-journal"), "it has died in the middle"
    hub.starts()
    assert hub.users == ["ada"]
    assert hub.schemas == {"": "c3", ".now": "b2"}


def test_a_database_that_lies_ready_takes_the_place(hub: Hub) -> None:
    hub.runs("new", left="now")
    hub.starts()
    hub.add_user("bob")
    schema.copy(f"{hub.database}.now", f"{hub.database}.for-now")
    hub.runs("now", left="new")
    hub.starts()
    assert hub.schemas == {"": "b2", ".new": "c3", ".now": "b2"}
    assert hub.users == []


def test_the_database_that_is_replaced_needs_no_room(hub: Hub) -> None:
    """It is that very file; whoever writes to what took its place does not write to this one."""
    hub.runs("now", left="new")
    hub.have("c3")
    written = hub.database.stat()
    os.utime(hub.database, (1, 1))
    hub.database.chmod(0o644)
    schema.copy(str(hub.database), f"{hub.database}.for-now")
    hub.starts()
    kept = Path(f"{hub.database}.new").stat()
    assert (kept.st_ino, stat.S_IMODE(kept.st_mode), kept.st_nlink) == (written.st_ino, 0o600, 1)
    # When it was left counts, not when it was written to last.
    assert kept.st_mtime >= written.st_mtime


def test_an_exchange_that_was_interrupted_is_made_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.runs("now", left="new")
    hub.have("c3")
    hub.add_user("bob")
    hub.have_ready("now", "b2")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(prepare_database, "place", lambda *_: cut())
        hub.starts()
    hub.starts()
    assert hub.schemas == {"": "b2", ".new": "c3"}
    hub.starts()
    assert hub.schemas == {"": "b2", ".new": "c3"}


def cut() -> None:
    """The power goes."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_what_a_hub_that_died_had_written_is_in_what_is_kept(hub: Hub, mode: str) -> None:
    hub.runs("now", left="new")
    hub.have_ready("now", "b2")
    dying = """if True:
        import os, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1])
        connection.execute("PRAGMA journal_mode = " + sys.argv[2])
        connection.execute("INSERT INTO users VALUES ('bob')")
        connection.commit()
        connection.execute("PRAGMA cache_size = 1")
        for number in range(3000):
            connection.execute("INSERT INTO users VALUES (?)", ("x" * 100 + str(number),))
        os._exit(0)"""
    subprocess.run([sys.executable, "-c", dying, str(hub.database), mode], check=True)
    hub.starts()
    with closing(sqlite3.connect(f"{hub.database}.new")) as connection:
        assert connection.execute("SELECT name FROM users").fetchall() == [("bob",)]
    assert hub.users == []


def test_a_database_that_somebody_has_open_is_copied(hub: Hub) -> None:
    hub.runs("now", left="new")
    hub.have_ready("now", "b2")
    with closing(sqlite3.connect(hub.database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO users VALUES ('bob')")
        connection.commit()
        hub.starts()
    with closing(sqlite3.connect(f"{hub.database}.new")) as connection:
        assert connection.execute("SELECT name FROM users").fetchall() == [("bob",)]


def test_what_sqlite_does_not_take_is_told_in_a_sentence(hub: Hub) -> None:
    hub.runs("new", left="now")
    hub.database.write_text("no database " * 1000)
    hub.have_ready("new", "b2")
    arguments = [sys.executable, "-I", "-c", source(), str(hub.root / "current"), str(hub.database)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.stderr == f"{hub.database} cannot be prepared: file is not a database.\n"
