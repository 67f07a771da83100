"""Restore a hub from the archive of a backup, which comes in on standard input.

Before it, in a line of its own, comes its manifest, which has been checked; nothing that differs
from it is taken. The hub's database is put into its place last: while it is not there, the archive
can be restored again from the beginning.

Arguments: state_dir, database, secrets, configuration (a file and the directory of those that are
read after it), drop_ins (directories), unit (the hub's).
"""

import glob
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

from archive import (
    ACCOUNTS,
    CONFIGURATION,
    DATABASE,
    DROP_INS,
    HOMES,
    SECRETS,
    Damaged,
    Hashing,
    Reader,
)
from make_accounts import Failure, make_accounts
from people import has_home
from tar import Unpacking

ASIDE = ".before-restore"


class Restoring:
    """What has come of an archive so far."""

    def __init__(self, manifest, directory):
        """Begin; the directory is root's alone."""
        self.manifest, self.directory = manifest, directory
        # Whoever runs this must be able to come back.
        self.kept = os.environ.get("SUDO_USER")
        self.users, self.home, self.notes = {}, None, []

    def take(self, name, mode, file):
        """Take in a member."""
        home = name.split("/")[1] if name.startswith(HOMES) else None
        if self.home and self.home[0] != home:
            self.end_home()
        if home is not None:
            self.unpack(home, self.whole(name, file))
        elif name == ACCOUNTS:
            accounts = json.loads(self.whole(name, file))
            self.users = {user["name"]: user for user in accounts["users"]}
            print(f"{len(self.users)} accounts", flush=True)
            make_accounts(accounts["users"], accounts["groups"], self.kept)
        elif not name.startswith("locks/"):
            self.stage(name, mode, file)

    def whole(self, name, file):
        """A member's content, if it is what the manifest says."""
        content = file.read()
        self.check(name, file)
        return content

    def check(self, name, file):
        """Refuse what is not what the manifest says.

        Raises:
            Damaged: it is not.
        """
        if file.told() != self.manifest["members"].get(name):
            raise Damaged(f"has changed on its way: {name!r} is not what the manifest says")

    def stage(self, name, mode, file):
        """Write a member to where it waits until all have come."""
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path, "wb") as target:
            shutil.copyfileobj(file, target, 1 << 20)
        self.check(name, file)
        os.chmod(path, mode & 0o755)

    def unpack(self, name, chunk):
        """Unpack a chunk of somebody's home."""
        if name == self.kept:
            return
        if self.home is None:
            user = self.users[name]
            prepare_home(user)
            print(f"the home of {name}", flush=True)
            self.home = name, Unpacking(user)
        self.home[1].write(chunk)

    def end_home(self):
        """Wait until a home is unpacked."""
        name, unpacking = self.home
        self.notes += [f"{self.users[name]['home']}: {note}" for note in unpacking.close()]
        self.home = None


def prepare_home(user):
    """Have a home that is its owner's.

    Raises:
        Failure: something else is there.
    """
    with suppress(FileExistsError):
        os.mkdir(user["home"], 0o700)
        os.chown(user["home"], user["uid"], user["gid"])
    if not has_home(user):
        raise Failure(f"{user['home']} is not {user['name']}'s.")


def put(source, target, mode=None):
    """Put a file into its place, whole or not at all."""
    new = f"{target}.new"
    with suppress(FileNotFoundError):
        os.unlink(new)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    shutil.copyfile(source, new)
    os.chmod(new, mode if mode is not None else os.stat(source).st_mode & 0o755)
    descriptor = os.open(new, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(new, target)


def put_tree(source, target, close):
    """Put the files below a directory into another; `close` keeps both to root."""
    for where, _, files in os.walk(source):
        to = os.path.normpath(os.path.join(target, os.path.relpath(where, source)))
        os.makedirs(to, mode=0o700 if close else 0o755, exist_ok=True)
        for file in files:
            path = os.path.join(where, file)
            mode = os.stat(path).st_mode & (0o700 if close else 0o755)
            put(path, os.path.join(to, file), mode)


def put_back(directory, arguments):
    """Put everything that has been staged where it belongs; the database last."""
    more = arguments["configuration"][1]
    put_tree(os.path.join(directory, CONFIGURATION, os.path.basename(more)), more, close=True)
    for path in arguments["drop_ins"]:
        put_tree(os.path.join(directory, DROP_INS, os.path.basename(path)), path, close=False)
    for name, target in zip(SECRETS, arguments["secrets"], strict=True):
        if os.path.exists(os.path.join(directory, name)):
            put(os.path.join(directory, name), target, 0o600)
    put_database(os.path.join(directory, DATABASE), arguments["database"], arguments["unit"])


def put_database(source, target, unit):
    """Put the hub's database into its place; the hub, if it runs, is stopped meanwhile."""
    if digest(source) == digest(target):
        return
    ran = subprocess.run(["systemctl", "--quiet", "is-active", unit]).returncode == 0
    if ran:
        subprocess.run(["systemctl", "stop", unit], check=True)
    set_aside(target)
    put(source, target, 0o600)
    if ran:
        subprocess.run(["systemctl", "start", unit], check=True)


def set_aside(database):
    """Keep the database that is there, with what its journal has; a rollback's copy is of it."""
    if os.path.exists(database):
        found, copy = sqlite3.connect(database), sqlite3.connect(f"{database}{ASIDE}")
        with suppress(sqlite3.Error), closing(found), closing(copy):
            found.backup(copy)
            os.chmod(f"{database}{ASIDE}", 0o600)
    journals = [database + ending for ending in ("-journal", "-wal", "-shm")]
    for path in [*journals, *glob.glob(f"{glob.escape(database)}.for-*")]:
        with suppress(FileNotFoundError):
            os.unlink(path)


def digest(path):
    """What a file's sha256 is; None where it is not there."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        hashing = Hashing(file)
        while hashing.read(1 << 20):
            pass
    return hashing.told()


def restore(source, directory, arguments):
    """Restore everything; what went wrong in homes."""
    restoring = Restoring(json.loads(source.readline()), directory)
    for name, mode, file in Reader(source):
        restoring.take(name, mode, file)
    if restoring.home:
        restoring.end_home()
    put_back(directory, arguments)
    return restoring.notes


if __name__ == "__main__":
    # Directories on the way to what is root's alone are everybody's: users run the hub's programs.
    os.umask(0o022)
    arguments = json.loads(sys.argv[1])
    state_dir = arguments["state_dir"]
    directory = os.path.join(state_dir, ".restore")
    try:
        os.makedirs(state_dir, mode=0o700, exist_ok=True)
        # A run that was killed may have left it.
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory, 0o700)
        for note in restore(sys.stdin.buffer, directory, arguments):
            print(f"not as it was: {note}")
        os.sync()
    except Failure as failure:
        sys.exit(f"The restore did not come to its end: {failure}")
    except Damaged as reason:
        sys.exit(f"The restore did not come to its end: the archive {reason}.")
    except (OSError, ValueError, LookupError, subprocess.CalledProcessError) as error:
        sys.exit(f"The restore did not come to its end: {error}.")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
