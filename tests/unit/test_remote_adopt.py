"""The programs that see a hub made by hand and take it over, on the article's tree of files."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterbox.program import program
from tests.unit.conftest import Server
from tests.unit.remote import answered, call
from tests.unit.test_remote_hub_activity import recorded_database

__all__ = ["recorded_database"]  # a fixture

UNIT = """\
[Service]
User=root
WorkingDirectory={place}
ExecStart={root}/bin/jupyterhub -f {root}/etc/jupyterhub/jupyterhub_config.py
"""
CONFIG = """\
c = get_config()
# c.Spawner.mem_limit = '2G'
c.Spawner.default_url = '/lab'
if True:
    c.Authenticator.allowed_users = {'bob', 'ada'}
c.JupyterHub.services.append({'name': 'x', 'api_token': 'of nobody else'})
c.GenericOAuthenticator.client_secret = 'of nobody else'
"""
OURS = "# Written by Jupyterbox; changes made here are overwritten.\n"
SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>{log}
[ "$1" = --quiet ] && shift
case "$1" in
is-active) [ -e {log}.running ] && echo active || echo inactive ;;
start) {start} ;;
esac
"""


class Article:
    """A box that was made by hand, with a systemctl that does nothing but write down."""

    def __init__(self, folder: Path, url: str, database: bytes) -> None:
        self.folder, self.url = folder, url
        self.root, self.place, self.state = folder / "hub", folder / "slash", folder / "state"
        self.kept, self.unit = folder / "kept", folder / "system/jupyterhub.service"
        self.log = folder / "systemctl.log"
        self.settings = ""  # more of the new hub's configuration
        for path in ("bin", "lib/python3.13", "include", "share/jupyter/lab", "etc/jupyter"):
            (self.root / path).mkdir(parents=True)
        self.write("bin/jupyterhub", "old")
        self.write("share/jupyter/kernels/python/kernel.json", "{}")
        self.write("etc/jupyterhub/jupyterhub_config.py", CONFIG)
        self.write("etc/jupyterhub/logo.png", "theirs")
        self.write("etc/systemd/jupyterhub.service", UNIT.format(root=self.root, place=self.place))
        self.write("pyvenv.cfg", "")
        for directory in (self.place, self.unit.parent, self.state, folder / "path"):
            directory.mkdir()
        self.unit.symlink_to(self.root / "etc/systemd/jupyterhub.service")
        (self.place / "jupyterhub.sqlite").write_bytes(database)
        (self.place / "jupyterhub_cookie_secret").write_text("the old secret")
        (self.place / "jupyterhub-proxy.pid").write_text("1")
        self.waiting = folder / "waiting"
        self.waiting.mkdir()
        self.systemctl()

    def write(self, path: str, text: str) -> None:
        """Write a file of the old hub's directory."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def systemctl(self, start: str = "true", running: bool = True) -> None:
        """What starting a unit does, and whether the old hub runs."""
        program = self.folder / "path/systemctl"
        program.write_text(SYSTEMCTL.format(log=self.log, start=start))
        program.chmod(0o755)
        if running:
            Path(f"{self.log}.running").touch()

    def files(self) -> dict[str, str]:
        """Everything of the new hub, laid out where it waits."""
        places = {
            str(self.root / "etc/jupyterhub/jupyterhub_config.py"): "config",
            str(self.unit): "hub.service",
            str(self.unit.with_name("jupyterhub-proxy.service")): "proxy.service",
        }
        for name in places.values():
            said = self.settings if name == "config" else ""
            (self.waiting / name).write_text(f"{OURS}# {name}\n{said}")
        return {path: str(self.waiting / name) for path, name in places.items()}

    def arguments(self, **others: Any) -> dict[str, Any]:
        """What the program is given."""
        return {
            "root": str(self.root),
            "state_dir": str(self.state),
            "kept": str(self.kept),
            "unit": str(self.unit),
            "proxy": "jupyterhub-proxy.service",
            "files": self.files(),
            "private": [str(self.root / "etc/jupyterhub/jupyterhub_config.d")],
            "url": self.url,
            "timeout": 0,
            "insisted": False,
            **others,
        }

    @property
    def env(self) -> dict[str, str]:
        """Where that systemctl is the first."""
        return {**os.environ, "PATH": f"{self.folder}/path:{os.environ['PATH']}"}

    def adopt(self, **arguments: Any) -> subprocess.CompletedProcess[str]:
        """Take it over."""
        return call("adopt", env=self.env, **self.arguments(**arguments))

    def started(self, before: str = "") -> subprocess.Popen[str]:
        """The program while it runs, with something that it does before."""
        _, *options, source, given = program("adopt", **self.arguments()).bits
        return subprocess.Popen(
            [sys.executable, *options, before + source.obj, given.obj],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
            cwd="/",
        )

    def by_hand(self) -> Any:
        """What the fact says of it."""
        return answered("by_hand", root=str(self.root), unit=str(self.unit))

    def calls(self) -> list[str]:
        """What systemctl was told, and asked."""
        return [line.removeprefix("--quiet ") for line in self.log.read_text().splitlines()]


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def users(path: Path) -> list[str]:
    """The users in a database."""
    with sqlite3.connect(path) as database:
        return [name for (name,) in database.execute("SELECT name FROM users ORDER BY name")]


@pytest.fixture
def article(tmp_path: Path, server: Server, recorded_database: bytes) -> Iterator[Article]:
    server.pages["/health"] = (200, b"")
    yield Article(tmp_path, f"{server.url}/health", recorded_database)


# --- what it is ---


def test_the_articles_hub_is_seen(article: Article) -> None:
    found = article.by_hand()
    assert found["commands"] is False
    hub = found["hub"]
    known = hub.pop("users")
    assert known == users(article.place / "jupyterhub.sqlite") and known
    assert hub == {
        "taken_over": False,
        "venv": True,
        "unit": str(article.unit),
        "config": str(article.root / "etc/jupyterhub/jupyterhub_config.py"),
        "database": str(article.place / "jupyterhub.sqlite"),
        "cookie_secret": str(article.place / "jupyterhub_cookie_secret"),
        "proxy_pid": str(article.place / "jupyterhub-proxy.pid"),
        "servers": [],
        "sets": [
            {"option": "Spawner.default_url", "line": 3, "value": "/lab"},
            {"option": "Authenticator.allowed_users", "line": 5, "value": "ada,bob"},
            {"option": "JupyterHub.services", "line": 6, "value": None},
            {"option": "GenericOAuthenticator.client_secret", "line": 7, "value": None},
        ],
        "overridden": None,
        "elsewhere": None,
        "misses": None,
        "other_database": None,
    }


def test_a_secret_in_the_configuration_is_not_told(article: Article) -> None:
    assert "of nobody else" not in json.dumps(article.by_hand())


def test_nothing_was_made_by_hand_on_a_bare_box_and_on_ours(tmp_path: Path) -> None:
    asked = {"root": str(tmp_path / "hub"), "unit": str(tmp_path / "jupyterhub.service")}
    assert answered("by_hand", **asked) == {"hub": None, "commands": False}
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/bin").symlink_to("current/bin")
    (tmp_path / "jupyterhub.service").write_text(OURS)
    assert answered("by_hand", **asked) == {"hub": None, "commands": True}
    # Somebody has edited ours: the next deploy writes it again.
    (tmp_path / "jupyterhub.service").write_text(
        f"[Service]\nExecStart={tmp_path}/hub/current/bin/jupyterhub\n"
    )
    assert answered("by_hand", **asked)["hub"] is None


@pytest.mark.parametrize(
    ("url", "line"),
    [("sqlite:///jupyterhub.sqlite", None), ("postgresql://hub@db/hub", 1), (None, 1)],
)
def test_where_its_database_is(article: Article, url: str | None, line: int | None) -> None:
    value = repr(url) if url else "os.environ['DB']"
    article.write("etc/jupyterhub/jupyterhub_config.py", f"c.JupyterHub.db_url = {value}\n")
    where = f"{article.root}/etc/jupyterhub/jupyterhub_config.py, line {line}" if line else None
    assert article.by_hand()["hub"]["other_database"] == where


def test_a_database_elsewhere(article: Article) -> None:
    moved = article.folder / "elsewhere.sqlite"
    os.rename(article.place / "jupyterhub.sqlite", moved)
    article.write("etc/jupyterhub/jupyterhub_config.py", f"c.JupyterHub.db_url='sqlite:///{moved}'")
    assert article.by_hand()["hub"]["database"] == str(moved)
    assert article.adopt().returncode == 0
    assert users(article.state / "jupyterhub.sqlite") == users(article.kept / "elsewhere.sqlite")


def test_another_hub_of_that_name(article: Article) -> None:
    article.unit.unlink()
    article.unit.write_text("[Service]\nExecStart=/opt/tljh/hub/bin/python3 -m jupyterhub.app\n")
    assert article.by_hand()["hub"]["elsewhere"] == "/opt/tljh/hub/bin/python3"


def test_a_configuration_that_nobody_can_read_is_no_hindrance(article: Article) -> None:
    article.write("etc/jupyterhub/jupyterhub_config.py", "c.Spawner.default_url = (")
    assert article.by_hand()["hub"]["sets"] == []


def started(article: Article, arguments: str, place: str | Path = "") -> None:
    """Have the unit start its hub like this."""
    text = f"[Service]\nWorkingDirectory={place or article.place}\nExecStart={article.root}"
    article.write("etc/systemd/jupyterhub.service", f"{text}/bin/jupyterhub {arguments}\n")


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        ("c.JupyterHub.db_url = 'sqlite:///{moved}?timeout=30'", ""),
        ("c.JupyterHub.db_url = 'sqlite+pysqlite:///{moved}'", ""),
        ("c.JupyterHub.db_url = '{moved}'", ""),
        ("c.JupyterHub.db_url = 'sqlite:///nothing'", "--JupyterHub.db_url=sqlite:///{moved}"),
        ("if True:\n    c.JupyterHub.db_url = 'x'\nc.JupyterHub.db_url = '{moved}'", ""),
        ("", "--debug \\\n    --db 'sqlite:///{moved}'"),
    ],
)
def test_every_way_to_say_where_its_database_is(
    article: Article, config: str, arguments: str
) -> None:
    moved = article.folder / "elsewhere.sqlite"
    os.rename(article.place / "jupyterhub.sqlite", moved)
    article.write("etc/jupyterhub/jupyterhub_config.py", config.format(moved=moved))
    path = f"{article.root}/etc/jupyterhub/jupyterhub_config.py"
    started(article, f"-f {path} {arguments.format(moved=moved)}")
    hub = article.by_hand()["hub"]
    assert (hub["database"], hub["misses"], hub["other_database"]) == (str(moved), None, None)
    assert hub["users"] == users(moved)


def drop_in(article: Article, name: str, text: str) -> str:
    """A drop-in of its unit, as `systemctl edit` makes them; the path."""
    directory = article.unit.with_name(f"{article.unit.name}.d")
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"[Service]\n{text}\n")
    return str(directory / name)


def test_a_drop_in_says_where_it_starts(article: Article) -> None:
    moved = article.folder / "jupyterhub.sqlite"
    os.rename(article.place / "jupyterhub.sqlite", moved)
    drop_in(article, "override.conf", f"WorkingDirectory={article.folder}")
    drop_in(article, "before.conf", "WorkingDirectory=/nowhere")
    hub = article.by_hand()["hub"]
    assert (hub["database"], hub["overridden"]) == (str(moved), None)


def test_a_drop_in_says_what_it_starts(article: Article) -> None:
    command = f"ExecStart=\nExecStart={article.root}/bin/jupyterhub --db={article.folder}/other"
    path = drop_in(article, "override.conf", command)
    hub = article.by_hand()["hub"]
    assert (hub["overridden"], hub["misses"]) == (path, f"{article.folder}/other")


def test_no_password_of_a_database_is_told(article: Article) -> None:
    url = "postgresql://hub:S3cret@db/hub"
    article.write("etc/jupyterhub/jupyterhub_config.py", f"c.JupyterHub.db_url = '{url}'\n")
    assert "S3cret" not in json.dumps(article.by_hand())
    assert article.by_hand()["hub"]["database"] is None, "what else lies there is not its own"
    started(article, f"--db={url}")
    found = article.by_hand()
    assert found["hub"]["other_database"] == str(article.unit)
    assert "S3cret" not in json.dumps(found)


def test_ours_is_ours_whoever_has_written_its_unit(article: Article) -> None:
    shutil.rmtree(article.root)
    (article.root / "releases/5d0c/bin").mkdir(parents=True)
    (article.root / "current").symlink_to("releases/5d0c")
    (article.root / "bin").symlink_to("current/bin")
    started(article, "-f x")
    assert article.by_hand() == {"hub": None, "commands": True}


def test_users_are_not_lost_by_the_way(article: Article) -> None:
    os.rename(article.place / "jupyterhub.sqlite", article.place / "another.sqlite")
    done = article.adopt()
    assert (done.returncode, done.stderr) == (
        1,
        f"the hub that was made by hand has no database at {article.place}/jupyterhub.sqlite: its "
        "users would be lost, and the hub was left as it is.\n",
    )
    assert not article.log.exists()
    assert article.adopt(insisted=True).returncode == 0


# --- taking it over ---


def test_users_move_over_and_everything_else_is_kept(article: Article) -> None:
    before = users(article.place / "jupyterhub.sqlite")
    done = article.adopt()
    assert done.returncode == 0, done.stderr
    assert users(article.state / "jupyterhub.sqlite") == before
    secret = article.state / "cookie_secret"
    assert secret.read_text() == "the old secret"
    for path in (secret, article.state / "jupyterhub.sqlite", article.state / "proxy.env"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # Ours is in its places, the operator's is where it was, and the kernels are.
    etc = article.root / "etc/jupyterhub"
    assert (etc / "jupyterhub_config.py").read_text() == f"{OURS}# config\n"
    assert stat.S_IMODE((etc / "jupyterhub_config.py").stat().st_mode) == 0o600
    assert (etc / "logo.png").read_text() == "theirs"
    assert (etc / "jupyterhub_config.d").is_dir()
    assert not article.unit.is_symlink()
    assert article.unit.read_text() == f"{OURS}# hub.service\n"
    assert os.readlink(article.root / "bin") == "current/bin"
    assert (article.root / "share/jupyter/kernels/python/kernel.json").exists()
    assert sorted(os.listdir(article.root)) == ["bin", "etc", "share"]
    # Nothing of the old is lost, and nobody but root sees it.
    assert stat.S_IMODE(article.kept.stat().st_mode) == 0o700
    kept = article.kept
    assert (kept / "bin/jupyterhub").read_text() == "old"
    assert (kept / "etc/jupyterhub/jupyterhub_config.py").read_text() == CONFIG
    assert (kept / "etc/systemd/jupyterhub.service").exists()
    assert users(kept / "jupyterhub.sqlite") == before
    assert (kept / "kernels/python/kernel.json").exists()
    assert {"lib", "include", "share", "pyvenv.cfg"} <= {*os.listdir(kept)}
    assert os.listdir(article.place) == []
    assert str(article.place / "jupyterhub.sqlite") in (kept / "README").read_text()
    assert article.by_hand() == {"hub": None, "commands": True}


def test_the_old_hub_stops_only_when_everything_else_is_done(article: Article) -> None:
    assert article.adopt().returncode == 0
    assert article.calls() == [
        "daemon-reload",
        "is-active jupyterhub.service",
        "stop jupyterhub.service",
        "daemon-reload",
        "reenable jupyterhub.service jupyterhub-proxy.service",
        "reset-failed jupyterhub-proxy.service",
        "start jupyterhub-proxy.service",
        "reset-failed jupyterhub.service",
        "start jupyterhub.service",
    ] + [line for line in article.calls() if line.startswith("show")]


def test_a_unit_that_is_a_file_of_its_own(article: Article) -> None:
    article.unit.unlink()
    os.rename(article.root / "etc/systemd/jupyterhub.service", article.unit)
    text = article.unit.read_text()
    assert article.adopt().returncode == 0
    assert article.unit.read_text().startswith(OURS)
    assert (article.kept / "etc/systemd/jupyterhub.service").read_text() == text


def test_a_hub_that_does_not_come_up_leaves_the_old_one(article: Article) -> None:
    before = users(article.place / "jupyterhub.sqlite")
    article.url = article.url.replace("health", "nothing")
    done = article.adopt()
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("did not answer within 0 s. The hub that was made by hand runs again.")
    assert article.calls()[-1] == "enable --now jupyterhub.service"
    found = article.by_hand()["hub"]
    assert (found["taken_over"], found["users"]) == (False, before)
    assert (article.root / "etc/jupyterhub/jupyterhub_config.py").read_text() == CONFIG
    assert (article.root / "bin/jupyterhub").read_text() == "old"
    assert not article.kept.exists()
    # And what was in the way is gone.
    article.url = article.url.replace("nothing", "health")
    assert article.adopt().returncode == 0
    assert users(article.state / "jupyterhub.sqlite") == before


def test_a_database_that_cannot_be_copied_leaves_the_old_one(article: Article) -> None:
    (article.place / "jupyterhub.sqlite").write_bytes(b"not a database" * 100)
    done = article.adopt()
    assert done.returncode == 1
    assert done.stderr.startswith(
        "the old hub's database cannot be copied (file is not a database)"
    )
    assert article.calls()[-1] == "start jupyterhub.service"
    assert article.by_hand()["hub"]["taken_over"] is False


@pytest.mark.parametrize("at", ["start jupyterhub-proxy.service", "stop jupyterhub.service"])
def test_a_run_that_is_killed_is_finished_by_the_next(article: Article, at: str) -> None:
    before = users(article.place / "jupyterhub.sqlite")
    program = article.folder / "path/systemctl"
    program.write_text(program.read_text() + f'[ "$*" = "{at}" ] && kill -9 $PPID\ntrue\n')
    assert article.adopt().returncode == -9
    assert article.by_hand()["hub"]["taken_over"] is at.startswith("start")
    article.systemctl()
    done = article.adopt()
    assert done.returncode == 0, done.stderr
    assert users(article.state / "jupyterhub.sqlite") == before
    assert (article.kept / "etc/jupyterhub/jupyterhub_config.py").read_text() == CONFIG
    assert article.by_hand() == {"hub": None, "commands": True}
    # Whatever it is told again, it does nothing any more.
    told = article.calls()
    assert article.adopt().returncode == 0
    assert article.calls() == told


def test_what_was_kept_before_is_kept(article: Article) -> None:
    assert article.adopt().returncode == 0
    # Somebody has gone back, and comes again.
    for name in ("bin", "lib", "etc", "pyvenv.cfg", "include"):
        subprocess.run(
            f"rm -rf {article.root}/{name}; cp -a {article.kept}/{name} {article.root}/",
            shell=True,
            check=True,
        )
    os.rename(article.kept / "jupyterhub.sqlite", article.place / "jupyterhub.sqlite")
    article.unit.unlink()
    article.unit.symlink_to(article.root / "etc/systemd/jupyterhub.service")
    article.write("etc/jupyterhub/jupyterhub_config.py", "c.Spawner.default_url = '/tree'\n")
    since = users(article.state / "jupyterhub.sqlite")[:1]
    with sqlite3.connect(article.state / "jupyterhub.sqlite") as database:
        database.execute("DELETE FROM users WHERE name != ?", since)
    assert article.adopt().returncode == 0
    before = article.kept.with_name("kept-before")
    for kept, said in ((before, CONFIG), (article.kept, "c.Spawner.default_url = '/tree'\n")):
        assert (kept / "etc/jupyterhub/jupyterhub_config.py").read_text() == said
        assert (kept / "bin/jupyterhub").read_text() == "old"
    # Those who have used ours in between are not forgotten either.
    assert users(article.state / "jupyterhub-before.sqlite") == since
    assert users(article.state / "jupyterhub.sqlite") == users(article.kept / "jupyterhub.sqlite")


def test_nobody_is_stopped_twice_for_what_is_left(
    article: Article, recorded_database: bytes
) -> None:
    """The new hub has run since, and what the old one left must not come over it."""
    assert article.adopt().returncode == 0
    (article.root / "pyvenv.cfg").touch()
    (article.place / "jupyterhub.sqlite").write_bytes(recorded_database)
    with sqlite3.connect(article.state / "jupyterhub.sqlite") as database:
        database.execute("DELETE FROM users")
    article.log.write_text("")
    assert article.adopt().returncode == 0
    assert users(article.state / "jupyterhub.sqlite") == []
    assert not any(line.startswith(("stop", "restart")) for line in article.calls())


# --- where the new hub has its own ---


def test_a_database_at_the_place_of_the_new_one_stays_there(article: Article) -> None:
    names = ("jupyterhub.sqlite", "cookie_secret")
    os.rename(article.place / names[0], article.state / names[0])
    os.rename(article.place / "jupyterhub_cookie_secret", article.state / names[1])
    started(article, "--JupyterHub.cookie_secret_file=cookie_secret", article.state)
    before = users(article.state / names[0])
    assert article.adopt().returncode == 0
    for directory in (article.state, article.kept):
        assert users(directory / names[0]) == before
        assert (directory / names[1]).read_text() == "the old secret"
    assert sorted(os.listdir(article.state)) == ["cookie_secret", "jupyterhub.sqlite", "proxy.env"]
    assert (
        f"mv {article.state / names[0]} {article.root}.new/"
        in (article.kept / "README").read_text()
    )


def test_a_database_that_the_settings_name_stays_there(article: Article) -> None:
    """Of a new hub that uses the old one's where it is: Hub(extra_config=...)."""
    database = article.place / "jupyterhub.sqlite"
    before = users(database)
    article.settings = f"c.JupyterHub.db_url = 'sqlite:///{database}'\n"
    assert article.adopt().returncode == 0
    assert users(database) == users(article.kept / "jupyterhub.sqlite") == before


def test_a_database_that_the_new_hub_has_changed_is_given_back(article: Article) -> None:
    database = article.state / "jupyterhub.sqlite"
    os.rename(article.place / "jupyterhub.sqlite", database)
    started(article, "", article.state)
    before = users(database)
    migrate = f"import sqlite3; sqlite3.connect('{database}', isolation_level=None).execute"
    article.systemctl(start=f"{sys.executable} -c \"{migrate}('DELETE FROM users')\"")
    article.url = article.url.replace("health", "nothing")
    assert article.adopt().returncode == 1
    assert users(database) == before
    assert users(article.state / "jupyterhub-since.sqlite") == []


def test_a_database_that_cannot_be_given_back_is_kept(article: Article) -> None:
    database = article.state / "jupyterhub.sqlite"
    os.rename(article.place / "jupyterhub.sqlite", database)
    started(article, "", article.state)
    before = users(database)
    article.systemctl(start=f"yes damaged | head -c 8192 >{database}")
    article.url = article.url.replace("health", "nothing")
    done = article.adopt()
    assert done.stdout.endswith(f"(file is not a database): see {article.kept}-before\n")
    kept = article.kept.with_name("kept-before")
    assert users(kept / "jupyterhub.sqlite") == before
    assert (article.root / "etc/jupyterhub/jupyterhub_config.py").read_text() == CONFIG
    assert "damaged" in (article.state / "jupyterhub-since.sqlite").read_text()


def test_a_database_below_etc_is_copied_once(article: Article) -> None:
    etc = article.root / "etc/jupyterhub"
    for name in ("jupyterhub.sqlite", "jupyterhub_cookie_secret"):
        os.rename(article.place / name, etc / name)
    (etc / "jupyterhub.sqlite-wal").touch()
    started(article, "", etc)
    before, live = users(etc / "jupyterhub.sqlite"), (etc / "jupyterhub.sqlite").stat().st_ino
    (etc / "jupyterhub.sqlite-wal").touch()
    assert article.adopt().returncode == 0
    assert users(article.state / "jupyterhub.sqlite") == before
    assert (article.kept / "etc/jupyterhub/jupyterhub.sqlite").stat().st_ino == live
    assert sorted(os.listdir(etc)) == ["jupyterhub_config.d", "jupyterhub_config.py", "logo.png"]
    assert "which was" in (readme := (article.kept / "README").read_text())
    assert "jupyterhub.sqlite" not in readme, "it goes and comes with etc"


# --- at the same time ---


def waits_for_a_lock(process: subprocess.Popen[str]) -> bool:
    """Whether a process waits for what another one has locked."""
    held = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and str(process.pid) in line.split() for line in held)


def test_the_second_waits_for_the_first(article: Article) -> None:
    """One that has lost its connection is still waiting for the old hub to stop."""
    go = article.folder / "go"
    program = article.folder / "path/systemctl"
    stop = f'[ "$1" = stop ] && while [ ! -e {go} ]; do sleep 0.05; done\ntrue\n'
    program.write_text(program.read_text() + stop)
    runs: list[subprocess.Popen[str]] = []
    try:
        runs.append(article.started())
        wait_until(lambda: article.log.exists() and "stop jupyterhub.service" in article.calls())
        runs.append(article.started())
        wait_until(lambda: waits_for_a_lock(runs[1]))
        go.touch()
        said = [run.communicate(timeout=60)[1] for run in runs]
        assert [run.returncode for run in runs] == [0, 0], said
    finally:
        go.touch()
        for run in runs:
            run.kill()
    assert article.calls().count("stop jupyterhub.service") == 1
    assert article.unit.read_text().startswith(OURS)
    assert (article.kept / "etc/jupyterhub/jupyterhub_config.py").read_text() == CONFIG


def test_one_that_is_stopping_is_waited_for(article: Article) -> None:
    program = article.folder / "path/systemctl"
    program.write_text(program.read_text().replace("echo active", "echo deactivating"))
    assert article.adopt().returncode == 0
    assert "stop jupyterhub.service" in article.calls()


# --- environments ---


def environment(root: Path, name: str = "stats") -> Path:
    """One that was made by hand."""
    prefix = root / "envs" / name
    (prefix / "bin").mkdir(parents=True)
    (prefix / "mine").touch()
    (root / "releases" / name / "5d0c").mkdir(parents=True)
    return prefix


def test_a_release_takes_the_place_of_a_plain_environment(tmp_path: Path) -> None:
    prefix = environment(tmp_path)
    asked: dict[str, Any] = {"root": str(tmp_path), "name": "stats", "release": "5d0c"}
    assert call("set_aside", **asked).returncode == 0
    assert os.readlink(prefix) == "../releases/stats/5d0c"
    assert (tmp_path / "by-hand/stats/mine").exists()
    # Somebody has made one again.
    prefix.unlink()
    prefix.mkdir()
    (tmp_path / "by-hand/stats-2").symlink_to("left by a run that died")
    assert call("set_aside", **asked).returncode == 0
    assert os.readlink(prefix) == "../releases/stats/5d0c"
    assert (tmp_path / "by-hand/stats/mine").exists()
    assert not (tmp_path / "by-hand/stats-2").is_symlink()


def test_not_while_somebody_runs_from_it(tmp_path: Path) -> None:
    prefix = environment(tmp_path)
    with subprocess.Popen(["sleep", "60"], cwd=prefix / "bin") as kernel:
        try:
            done = call("set_aside", root=str(tmp_path), name="stats", release="5d0c")
        finally:
            kernel.kill()
    assert done.returncode == 1
    assert done.stderr == (
        f"processes run from {prefix}, which was made by hand: it was left as it is.\n"
    )
    assert not prefix.is_symlink()
