"""Take over a hub that was made by hand: another one answers with its users, and it is kept aside.

Arguments: root, state_dir, kept (the directory where everything of the old hub stays), unit (the
path of the hub's), proxy (the name of that unit), files (the new hub's, by where they shall lie:
where they wait), private (directories of its configuration), url (of the health page), timeout
(seconds to wait for it), even_with_servers.

The configuration of either hub, and its unit, lie below `root`/etc: the exchange of that directory
is the switch. Whatever dies before it, the old hub is what starts next, with all of its state where
it was; after it, the new one. What does not come up healthy is switched back.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress

from by_hand import hub_by_hand
from exchange import exchange
from make_secrets import make
from schema import copy
from wait_for_hub import journal, wait

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
        self.answered = f"{kept}/answered"
        self.files, self.private = files, private
        self.url, self.timeout = url, timeout

    def found(self):
        """The hub by hand, as it is now; None where nothing is left of it."""
        return hub_by_hand(self.root, self.unit)

    def inside(self, path):
        """Where a file of the new hub lies below its etc."""
        if path == self.unit:
            return f"systemd/{self.hub}"
        return os.path.relpath(path, self.etc)

    def lay_out(self, found):
        """Make everything of the new hub beside the old one, which notices nothing."""
        if os.path.exists(self.answered):
            # Of another time: somebody has gone back since.
            os.rename(self.kept, free(f"{self.kept}-before"))
        os.makedirs(self.kept, mode=0o700, exist_ok=True)
        shutil.rmtree(self.other_etc, ignore_errors=True)
        os.makedirs(self.etc, exist_ok=True)
        shutil.copytree(self.etc, self.other_etc, symlinks=True, ignore=self.of_the_venv)
        # The hub would be restarted for one that is made after it has started.
        for path in self.private:
            os.makedirs(os.path.join(self.other_etc, self.inside(path)), exist_ok=True)
            os.chmod(os.path.join(self.other_etc, self.inside(path)), 0o700)
        for path, waiting in self.files.items():
            if path == self.unit or path.startswith(f"{self.etc}/"):
                private = 0o644 if path == self.unit else 0o600
                lay(waiting, os.path.join(self.other_etc, self.inside(path)), private)
            else:
                lay(waiting, path, 0o644)
        for name in ("proxy.env", "cookie_secret"):
            make(self.state, name)
        kernels = f"{self.root}/share/jupyter/kernels"
        if os.path.isdir(kernels) and not os.path.exists(f"{self.kept}/kernels"):
            shutil.copytree(kernels, f"{self.kept}/kernels", symlinks=True)
        self.note(found)

    def of_the_venv(self, directory, _):
        """What packages have put below etc; what the operator has put there stays."""
        return ["jupyter"] if directory == self.etc else []

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
        if found["config"] and not found["config"].startswith(f"{self.etc}/"):
            yield "jupyterhub_config.py", found["config"]
        for what in ("database", "cookie_secret", "proxy_pid"):
            if found[what]:
                yield os.path.basename(found[what]), found[what]

    def take_over(self, found):
        """Stop the old hub, bring its state over, and switch; at whatever fails it runs again."""
        if found["unit"]:
            self.link_unit(found["unit"])
        started = systemctl("is-active", self.hub) == 0
        if started and systemctl("stop", self.hub):
            raise Refused(f"{self.hub} does not stop.")
        try:
            self.bring(found)
            exchange(self.etc, self.other_etc)
        except BaseException:
            if started:
                systemctl("start", self.hub)
            raise

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
        lay(unit, below, 0o644)
        link(below, unit)
        systemctl("daemon-reload")

    def bring(self, found):
        """Copy database and cookie secret, which nobody uses now, to where the new hub has its own.

        The secret lets everybody stay logged in.
        """
        if found["database"]:
            copy(found["database"], f"{self.state}/jupyterhub.sqlite")
        if found["cookie_secret"]:
            lay(found["cookie_secret"], f"{self.state}/cookie_secret", 0o600)

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
        exchange(self.etc, self.other_etc)
        link(f"{self.etc}/systemd/{self.hub}", self.unit)
        systemctl("daemon-reload")
        systemctl("enable", "--now", self.hub)
        # All that is in there are copies, and the new hub's etc.
        shutil.rmtree(self.kept, ignore_errors=True)

    def tidy(self):
        """Move aside what the old hub has left; the mark of its venv comes last."""
        with suppress(FileNotFoundError), open(f"{self.kept}/found.json") as file:
            for what, path in self.keeps(json.load(file)):
                if os.path.isfile(path) and not os.path.exists(f"{self.kept}/{what}"):
                    shutil.move(path, f"{self.kept}/{what}")
        with suppress(FileNotFoundError):
            os.unlink(f"{self.etc}/systemd/{self.hub}")
            os.rmdir(f"{self.etc}/systemd")
        for name in OWN[1:-1]:
            aside(f"{self.root}/{name}", f"{self.kept}/{name}", but="jupyter/kernels")
        programs = f"{self.root}/bin"
        if not os.path.islink(programs):
            os.symlink("current/bin", f"{self.kept}/bin")
            exchange(programs, f"{self.kept}/bin")
        aside(f"{self.root}/{OWN[-1]}", f"{self.kept}/{OWN[-1]}")


def free(path):
    """A path like it at which there is nothing."""
    number, found = 1, path
    while os.path.lexists(found):
        number += 1
        found = f"{path}-{number}"
    return found


def aside(path, kept, but=None):
    """Move something out of the way, but for one directory below it."""
    if not os.path.lexists(path):
        return
    if not but or not os.path.isdir(os.path.join(path, but)):
        os.rename(path, kept)
        return
    first, _, rest = but.partition("/")
    os.makedirs(kept, exist_ok=True)
    for name in os.listdir(path):
        if name != first:
            os.rename(os.path.join(path, name), os.path.join(kept, name))
    if rest:
        aside(os.path.join(path, first), os.path.join(kept, first), rest)


def lay(source, target, mode):
    """Put a copy of a file in its place, whole or not at all."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(source, "rb") as file:
        write(target, file.read().decode(errors="surrogateescape"), mode)


def write(path, text, mode=0o600):
    """Write a file, whole or not at all."""
    new = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(new)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", errors="surrogateescape") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    os.rename(new, path)


def link(target, path):
    """Make a link in the place of whatever file is there."""
    new = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(new)
    os.symlink(target, new)
    os.rename(new, path)


def adopt(takeover, even_with_servers):
    """Take over what is there, from wherever a run before this one has come to."""
    found = takeover.found()
    if not found:
        return
    if found["servers"] and not (found["taken_over"] or even_with_servers):
        raise Refused(
            f"servers of {', '.join(found['servers'])} run in the hub that was made by hand, and "
            "would end with it: the hub was left as it is."
        )
    if not found["taken_over"]:
        takeover.lay_out(found)
    # Whoever is gone from here on, somebody's hub answers in the end.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if not found["taken_over"]:
        takeover.take_over(found)
    takeover.see()
    takeover.tidy()
    say(f"the hub answers; what was made by hand is in {takeover.kept}, see the README there")


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    even_with_servers = arguments.pop("even_with_servers")
    os.umask(0o022)
    try:
        adopt(Takeover(**arguments), even_with_servers)
    except Refused as refused:
        sys.exit(str(refused))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}.")
    except sqlite3.Error as error:
        sys.exit(f"the old hub's database cannot be copied ({error}): the hub was left as it is.")
