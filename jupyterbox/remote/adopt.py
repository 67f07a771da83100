"""Take over a hub that was made by hand: another one answers with its users, and it is kept aside.

Arguments: root, state_dir, kept (the directory where everything of the old hub stays), unit (the
path of the hub's), proxy (the name of that unit), files (the new hub's, by where they shall lie:
where they wait), private (directories of its configuration), url (of the health page), timeout
(seconds to wait for it), insisted (whether servers may end with it, or its users be lost).

The configuration of either hub, and its unit, lie below `root`/etc: the exchange of that directory
is the switch. Whatever dies before it, the old hub is what starts next, with all of its state where
it was; after it, the new one. What does not come up healthy is switched back. Where the old hub has
its database at the very place of the new one's, it is copied, and that copy is gone back to.
"""

import fcntl
import filecmp
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

from by_hand import MARK, hub_by_hand, options, sqlite_file, text_of
from exchange import exchange
from laying import aside, copy_tree, free, lay, link, move, own, sync_tree, write
from make_secrets import make
from schema import copy
from units import said
from wait_for_hub import journal, wait

STATE = ("database", "cookie_secret", "proxy_pid")
BESIDE = ("journal", "wal", "shm")
"""What sqlite has beside a database: to no other one of that name may it be applied."""
OWN = ("bin", "lib", "lib64", "include", "share", ".gitignore", "pyvenv.cfg")
"""What a venv has put into its directory; the last one is its mark."""
NOTE = """\
What was in the places of Jupyterbox before it took over, kept for you to look at, to go back to,
and to delete when you need neither.

{lines}

Packages of the system (nodejs, npm), conda, and environments that were not changed are where they
were.

To go back to the old hub, with its users as they were when it was taken over:

    systemctl disable --now {hub} {proxy}
    mv {root} {root}.new && mkdir {root}
    {back}
    systemctl daemon-reload && systemctl enable --now {hub}

The kernelspecs that were published since are in {root}.new/share/jupyter/kernels.
"""


class Refused(Exception):
    """Why it was not taken over, in a sentence."""


def say(sentence):
    """Tell the operator, who may be gone; what was begun is finished."""
    with suppress(OSError):
        print(sentence, flush=True)


def systemctl(*arguments):
    """Call systemctl; its status."""
    return subprocess.run(
        ["systemctl", "--quiet", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ).returncode


class Takeover:
    """A hub by hand, and the one that is about to be in its place."""

    def __init__(self, root, state_dir, kept, unit, proxy, files, private, url, timeout):
        self.root, self.state, self.kept = root, state_dir, kept
        self.unit, self.hub, self.proxy = unit, os.path.basename(unit), proxy
        self.etc, self.other_etc = f"{root}/etc", f"{kept}/etc"
        self.answered, self.stopped = f"{kept}/answered", f"{kept}/stopped"
        self.database, self.secret = f"{state_dir}/jupyterhub.sqlite", f"{state_dir}/cookie_secret"
        self.files, self.private = files, private
        self.url, self.timeout = url, timeout

    def found(self):
        """The hub by hand, as it is now; None where nothing is left of it."""
        return hub_by_hand(self.root, self.unit)

    def noted(self):
        """The same as it was when it was taken over; None where nobody has noted that."""
        with suppress(FileNotFoundError), open(f"{self.kept}/found.json") as file:
            return json.load(file)

    def ours(self, etc):
        """Whether a directory of configuration is the new hub's: it has our unit in it."""
        return (text_of(f"{etc}/systemd/{self.hub}") or "").startswith(MARK)

    def inside(self, path):
        """Where a file of the new hub lies below its etc."""
        if path == self.unit:
            return f"systemd/{self.hub}"
        return os.path.relpath(path, self.etc)

    def in_etc(self, path):
        """Whether a file lies below etc, by whatever path: it goes where that goes."""
        place = os.path.realpath(os.path.dirname(path))
        return f"{place}/".startswith(f"{os.path.realpath(self.etc)}/")

    def in_use(self, path):
        """Whether a file is one that the new hub uses: it must stay there."""
        places = [self.database, self.secret, *self.files]
        for text in map(text_of, [*self.files.values(), *self.operators()]):
            for one in options(text or ""):
                if one["option"] in ("JupyterHub.db_url", "JupyterHub.cookie_secret_file"):
                    place = sqlite_file(one["value"] or "://")
                    places.append(os.path.join(self.state, place or ""))
        places = [place for place in places if os.path.isfile(place)]
        return os.path.isfile(path) and any(os.path.samefile(path, place) for place in places)

    def operators(self):
        """The operator's own configuration, which the new hub reads after ours."""
        for path in self.private:
            for etc in (self.etc, self.other_etc):
                directory = os.path.join(etc, self.inside(path))
                with suppress(OSError):
                    yield from (os.path.join(directory, name) for name in os.listdir(directory))

    def lay_out(self, found):
        """Make everything of the new hub beside the old one, which notices nothing."""
        theirs = os.path.lexists(self.other_etc) and not self.ours(self.other_etc)
        if theirs or os.path.exists(self.answered):
            # Of another time: somebody has gone back since.
            os.rename(self.kept, free(f"{self.kept}-before"))
        if not os.path.lexists(self.kept):
            # A run that was killed may have left a part of one.
            discard(self.kept)
        os.makedirs(self.kept, mode=0o700, exist_ok=True)
        self.lay_out_etc(found)
        for path, waiting in self.files.items():
            if not self.of_etc(path):
                lay(waiting, path, 0o644)
        for name in ("proxy.env", "cookie_secret"):
            make(self.state, name)
        kernels = f"{self.root}/share/jupyter/kernels"
        if os.path.isdir(kernels) and not os.path.exists(f"{self.kept}/kernels"):
            copy_tree(kernels, f"{self.kept}/kernels")
        self.note(found)

    def of_etc(self, path):
        """Whether a file of the new hub waits below etc for the switch."""
        return path == self.unit or path.startswith(f"{self.etc}/")

    def lay_out_etc(self, found):
        """The new hub's etc: what the operator has put into the old one stays in it."""
        new = f"{self.other_etc}.new"
        shutil.rmtree(new, ignore_errors=True)
        os.makedirs(self.etc, exist_ok=True)
        shutil.copytree(self.etc, new, symlinks=True, ignore=self.left_out(found))
        # The hub would be restarted for one that is made after it has started.
        for path in self.private:
            os.makedirs(os.path.join(new, self.inside(path)), exist_ok=True)
            os.chmod(os.path.join(new, self.inside(path)), 0o700)
        for path, waiting in filter(lambda one: self.of_etc(one[0]), self.files.items()):
            mode = 0o644 if path == self.unit else 0o600
            lay(waiting, os.path.join(new, self.inside(path)), mode)
        sync_tree(new)
        discard(self.other_etc)
        os.rename(new, self.other_etc)

    def left_out(self, found):
        """What the new etc does without: what packages have put there, and the old hub's state."""
        state = [found[what] for what in STATE if found[what]]
        state += [f"{path}-{beside}" for path in state for beside in BESIDE]
        state = {(os.path.realpath(os.path.dirname(p)), os.path.basename(p)) for p in state}

        def ignored(directory, names):
            place = os.path.realpath(directory)
            packages = {"jupyter"} if directory == self.etc else set()
            return {name for name in names if name in packages or (place, name) in state}

        return ignored

    def note(self, found):
        """Write down what is kept, where it was, and how to go back."""
        lines, back = ["    etc", "    kernels"], [f"cp -a {self.kept}/etc {self.root}/"]
        for name in filter(lambda name: os.path.lexists(f"{self.root}/{name}"), OWN):
            lines.append(f"    {name}")
            back.append(f"cp -a {self.kept}/{name} {self.root}/")
        lines.append(f"which were in {self.root} (kernels in share/jupyter), and")
        back.append(f"cp -aT {self.kept}/kernels {self.root}/share/jupyter/kernels")
        if found["unit"]:
            lines.append(f"    etc/systemd/{self.hub}, which was {self.unit}")
            back.append(f"ln -sfn {self.etc}/systemd/{self.hub} {self.unit}")
        for what, path in self.keeps({**found, "proxy_pid": None}):
            lines.append(f"    {what}, which was {path}")
            if self.in_use(path):
                back.append(f"mv {path} {self.root}.new/")
            back.append(f"cp -a {self.kept}/{what} {path}")
        text = NOTE.format(
            lines="\n".join(lines),
            back="\n    ".join(back),
            root=self.root,
            hub=self.hub,
            proxy=self.proxy,
        )
        write(f"{self.kept}/README", text)
        write(f"{self.kept}/found.json", json.dumps(found, indent=1))

    def keeps(self, found):
        """What is kept of it besides its directory: the name of each, and where it was."""
        config = found["config"]
        if config and not self.in_etc(config):
            yield "jupyterhub_config.py", config
        for what in STATE:
            if found[what] and not self.in_etc(found[what]):
                yield os.path.basename(found[what]), found[what]

    def take_over(self, found):
        """Stop the old hub, bring its state over, and switch."""
        systemctl("daemon-reload")
        if found["unit"]:
            self.link_unit(found["unit"])
        self.stop()
        self.bring(found)
        exchange(self.etc, self.other_etc)

    def stop(self):
        """Stop the old hub, and wait until it has: a run that died may have told it to."""
        if said(["systemctl", "is-active", self.hub]).strip() in ("inactive", "failed", "unknown"):
            return
        write(self.stopped, "")
        if systemctl("stop", self.hub):
            raise Refused(f"{self.hub} does not stop.")

    def resume(self):
        """Start the old hub again, if this run or one that died has stopped it."""
        if os.path.exists(self.stopped):
            systemctl("start", self.hub)

    def see(self):
        """Have the new hub answer.

        Raises:
            Refused: it does not, and the old one runs again.
        """
        if os.path.exists(self.answered):
            # There is no way back any more: the old one's files are on the move.
            return
        if problem := self.starts():
            said = "".join(f"--- {u}:\n{journal(u)}\n" for u in (self.proxy, self.hub))
            self.back()
            raise Refused(f"{said}{problem} The hub that was made by hand runs again.")
        write(self.answered, "")

    def link_unit(self, unit):
        """Have the unit lie where the article has it, below etc, and systemd's be a link to it."""
        below = f"{self.etc}/systemd/{self.hub}"
        if os.path.realpath(unit) == os.path.realpath(below):
            return
        if os.path.lexists(below) and not filecmp.cmp(unit, below, shallow=False):
            os.rename(below, free(f"{below}.before"))
        lay(unit, below, 0o644)
        link(below, unit)
        systemctl("daemon-reload")

    def bring(self, found):
        """Bring database and cookie secret, which nobody uses now, to where the new hub has them.

        The secret lets everybody stay logged in. What is there already is copied for the way back.
        """
        for what, place in (("database", self.database), ("cookie_secret", self.secret)):
            path = found[what]
            if path and self.in_use(path):
                kept = f"{self.kept}/{os.path.basename(path)}"
                copy(path, kept) if what == "database" else lay(path, kept, 0o600)
                own(kept, path)
            elif path and what == "database":
                self.make_way(place)
                copy(path, place)
            elif path:
                lay(path, place, 0o600)

    def make_way(self, database):
        """Keep a database that was there from before, whose users are others."""
        if os.path.lexists(database):
            # Its name must not be that of a copy that a release has left.
            kept = spare(database, free(f"{self.state}/jupyterhub-before.sqlite"))
            say(f"the database that was at {database} is kept as {kept}")
        for path in (database, *(f"{database}-{beside}" for beside in BESIDE)):
            with suppress(FileNotFoundError):
                os.unlink(path)

    def starts(self):
        """Start the new hub; why it does not answer, None if it does."""
        if os.path.islink(self.unit) or not os.path.exists(self.unit):
            lay(f"{self.etc}/systemd/{self.hub}", self.unit, 0o644)
        systemctl("daemon-reload")
        # What the article has enabled is a link to its own file.
        systemctl("reenable", self.hub, self.proxy)
        for unit in (self.proxy, self.hub):
            systemctl("reset-failed", unit)
            if systemctl("start", unit):
                return f"{unit} does not start."
        return wait(self.url, [self.hub, self.proxy], self.timeout)

    def back(self):
        """Return to the old hub."""
        systemctl("disable", "--now", self.hub, self.proxy)
        given_back = self.give_back(self.noted() or {})
        # Before the exchange: systemd's unit is below etc then, whichever that is.
        link(f"{self.etc}/systemd/{self.hub}", self.unit)
        exchange(self.etc, self.other_etc)
        systemctl("daemon-reload")
        systemctl("enable", "--now", self.hub)
        if given_back and self.ours(self.other_etc):
            # All that is in there are copies, and the new hub's etc.
            discard(self.kept)
        else:
            os.rename(self.kept, free(f"{self.kept}-before"))

    def give_back(self, noted):
        """Have the database as it was, if both hubs use it; whether it is.

        What the new hub has made of it is kept, too.
        """
        database = noted.get("database")
        kept = f"{self.kept}/{os.path.basename(database or '')}"
        if not (database and os.path.isfile(kept) and self.in_use(database)):
            return True
        try:
            spare(database, free(f"{self.state}/jupyterhub-since.sqlite"))
            with closing(sqlite3.connect(kept)) as old, closing(sqlite3.connect(database)) as made:
                old.backup(made)
        except (OSError, sqlite3.Error) as error:
            say(f"{database} could not be copied back ({error}): see {self.kept}-before")
            return False
        return True

    def tidy(self):
        """Move aside what the old hub has left; the mark of its venv comes last."""
        for what, path in self.keeps(self.noted() or {}):
            self.set_aside(path, f"{self.kept}/{what}")
        for path in (self.stopped, f"{self.etc}/systemd/{self.hub}"):
            with suppress(FileNotFoundError):
                os.unlink(path)
        with suppress(OSError):
            os.rmdir(f"{self.etc}/systemd")
        for name in OWN[1:-1]:
            aside(f"{self.root}/{name}", f"{self.kept}/{name}", but="jupyter/kernels")
        programs, kept = f"{self.root}/bin", f"{self.kept}/bin"
        if not os.path.islink(programs):
            kept = kept if os.path.islink(kept) else free(kept)
            link("current/bin", kept)
            exchange(programs, kept)
        aside(f"{self.root}/{OWN[-1]}", f"{self.kept}/{OWN[-1]}")

    def set_aside(self, path, kept):
        """Move a file of the old hub, unless it is the new one's, too."""
        if not os.path.isfile(path) or self.in_use(path):
            return
        if not os.path.lexists(kept):
            move(path, kept)
        elif filecmp.cmp(path, kept, shallow=False):
            # A run that died had it copied to another file system.
            os.unlink(path)


def discard(path):
    """Remove a directory of ours: what is left of one, cut short, is not taken for it any more."""
    gone = f"{path}.gone"
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.rename(path, gone)
    shutil.rmtree(gone, ignore_errors=True)


def spare(database, kept):
    """Copy a database, whatever is in it; the path of the copy."""
    try:
        copy(database, kept)
    except sqlite3.Error:
        with suppress(FileNotFoundError):
            os.unlink(f"{kept}.new")
        shutil.copy2(database, kept)
    return kept


def adopt(takeover, insisted):
    """Take over what is there, from wherever a run before this one has come to."""
    found = takeover.found()
    if not found:
        return
    if not found["taken_over"]:
        try:
            if not insisted:
                check(found)
            takeover.lay_out(found)
            see_to_the_end()
            takeover.take_over(found)
        except BaseException:
            takeover.resume()
            raise
    see_to_the_end()
    takeover.see()
    takeover.tidy()
    say(f"the hub answers; what was made by hand is in {takeover.kept}, see the README there")


def see_to_the_end():
    """Whoever is gone from here on, somebody's hub answers in the end."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def check(found):
    """Refuse what nobody has asked for: preflight has looked a while ago."""
    if found["servers"]:
        raise Refused(
            f"servers of {', '.join(found['servers'])} run in the hub that was made by hand, and "
            "would end with it: the hub was left as it is."
        )
    if found["misses"]:
        raise Refused(
            f"the hub that was made by hand has no database at {found['misses']}: its users would "
            "be lost, and the hub was left as it is."
        )


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    insisted = arguments.pop("insisted")
    os.umask(0o022)
    try:
        # One that has lost its connection still sees to the end of what it has begun.
        lock = os.open(arguments["state_dir"], os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        adopt(Takeover(**arguments), insisted)
    except Refused as refused:
        sys.exit(str(refused))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}." if error.filename else str(error))
    except sqlite3.Error as error:
        sys.exit(f"the old hub's database cannot be copied ({error}): the hub was left as it is.")
