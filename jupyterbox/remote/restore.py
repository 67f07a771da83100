"""Restore a hub from the archive of a backup, which comes in on standard input.

Before it, in a line of its own, comes its manifest, which has been checked; nothing that differs
from it is taken. The hub's state is put into its place when all of it has come, its database last;
then come the homes: a disk that they fill, or one that does not answer, costs nobody the hub. The
same archive can be restored again from the beginning.

Arguments: state_dir, database, secrets, configuration (a file and the directory of those that are
read after it), drop_ins (directories), unit (the hub's), journal (of what this project has made).
"""

import glob
import json
import os
import pwd
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import partial

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
from make_accounts import Failure, as_here, make_accounts
from noting import note
from people import has_home
from tar import Unpacking

ASIDE = ".before-restore"
JOURNALS = ("-journal", "-wal")  # of a database; they hold what is not in it yet


class Restoring:
    """What has come of an archive so far."""

    def __init__(self, manifest, directory, arguments):
        """Begin; the directory is root's alone."""
        self.manifest, self.directory, self.arguments = manifest, directory, arguments
        # Whoever runs this must be able to come back.
        self.kept = os.environ.get("SUDO_USER")
        self.users, self.home, self.notes, self.lost = {}, None, [], []
        self.back = False

    def take(self, name, mode, file):
        """Take in a member."""
        home = name.split("/")[1] if name.startswith(HOMES) else None
        if self.home and self.home[0] != home:
            self.end_home()
        if home is not None:
            self.put_back()
            self.unpack(home, self.whole(name, file))
        elif self.back:
            raise Damaged(f"has {name!r} after its homes")
        elif name == ACCOUNTS:
            self.make_accounts(json.loads(self.whole(name, file)))
        elif not name.startswith("locks/"):
            self.stage(name, mode, file)

    def make_accounts(self, accounts):
        """Make the accounts, and know them as they are here then."""
        users, groups = accounts["users"], accounts["groups"]
        print(f"{len(users)} accounts", flush=True)
        noting = partial(note, self.arguments["journal"])
        self.notes += make_accounts(users, groups, self.kept, noting)
        self.users = {user["name"]: as_here(user) for user in users}
        self.notes += filter(None, map(elsewhere, users))

    def put_back(self):
        """Put the hub's state into its place, once."""
        if not self.back:
            put_back(self.directory, self.arguments)
        self.back = True

    def end(self):
        """All has come."""
        if self.home:
            self.end_home()
        self.put_back()

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
            print(f"the home of {name}", flush=True)
            self.home = name, self.start(self.users[name])
        if self.home[1]:
            self.home[1].write(chunk)

    def start(self, user):
        """Start to unpack a home; None where that does not work, which keeps no other from it."""
        try:
            prepare_home(user)
            return Unpacking(user)
        except (Failure, OSError) as error:
            self.lost.append(f"{user['home']}: {getattr(error, 'strerror', None) or error}")
            return None

    def end_home(self):
        """Wait until a home is unpacked."""
        name, unpacking = self.home
        self.home = None
        if unpacking:
            outcome = unpacking.close()
            said = [f"{self.users[name]['home']}: {note}" for note in outcome.notes]
            (self.notes if outcome.whole else self.lost).extend(said)


def elsewhere(user):
    """What to say of an account that was here, and has its home in another place."""
    try:
        home = pwd.getpwnam(user["name"]).pw_dir
    except KeyError:
        return None
    if home.rstrip("/") == user["home"].rstrip("/"):
        return None
    return (
        f"account {user['name']} has its home in {home} here, and in {user['home']} in the backup"
    )


def prepare_home(user):
    """Have a home that is its owner's.

    Raises:
        Failure: something else is there.
    """
    with suppress(FileExistsError):
        os.mkdir(user["home"], 0o700)
        os.chown(user["home"], user["uid"], user["gid"])
    if not has_home(user):
        raise Failure(f"it is not {user['name']}'s")


def put(source, target, mode=None):
    """Put a file into its place, whole or not at all."""
    new = f"{target}.new"
    with suppress(FileNotFoundError):
        os.unlink(new)
    try:
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        shutil.copyfile(source, new)
        os.chmod(new, mode if mode is not None else os.stat(source).st_mode & 0o755)
        sync(new)
        os.rename(new, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(new)
        raise


def sync(path):
    """Have a file, or the names in a directory, survive that the power fails."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_tree(source, target, close, made=lambda path: None):
    """Put the files below a directory into another; `close` keeps both to root.

    Args:
        source, target: directories.
        close: whether nobody else may read them.
        made: is told of a file that was not there, before it is.
    """
    for where, _, files in os.walk(source):
        to = os.path.normpath(os.path.join(target, os.path.relpath(where, source)))
        os.makedirs(to, mode=0o700 if close else 0o755, exist_ok=True)
        for file in files:
            path, there = os.path.join(where, file), os.path.join(to, file)
            if not os.path.lexists(there):
                made(there)
            put(path, there, os.stat(path).st_mode & (0o700 if close else 0o755))


def put_back(directory, arguments):
    """Put everything that has been staged where it belongs; the database last."""
    database = os.path.join(directory, DATABASE)
    if not os.path.exists(database):
        raise Damaged("has no database before its homes")
    more = arguments["configuration"][1]
    put_tree(os.path.join(directory, CONFIGURATION, os.path.basename(more)), more, close=True)
    made = partial(note, arguments["journal"], "file")
    for path in arguments["drop_ins"]:
        put_tree(os.path.join(directory, DROP_INS, os.path.basename(path)), path, False, made)
    for name, target in zip(SECRETS, arguments["secrets"], strict=True):
        if os.path.exists(os.path.join(directory, name)):
            put(os.path.join(directory, name), target, 0o600)
    put_database(database, arguments["database"], arguments["unit"])


def put_database(source, target, unit):
    """Put the hub's database into its place, unless it is there."""
    if digest(source) != digest(target):
        replace(source, target, unit)
    # What a rollback would go back to is of another one.
    remove(glob.glob(f"{glob.escape(target)}.for-*"))


def replace(source, target, unit):
    """Replace the hub's database; the hub, if it runs, is stopped meanwhile.

    The new one has been written on the same disk: what is left to do are names, which need no room.
    """
    os.chmod(source, 0o600)
    sync(source)
    directory = os.path.dirname(target)
    with stopped(unit):
        if os.path.lexists(target):
            print(f"the database that was here is kept as {keep_aside(target)}", flush=True)
            sync(directory)
        # Those of another would be read into this one.
        remove(database_files(target, (*JOURNALS, "-shm")))
        os.rename(source, target)
        sync(directory)


@contextmanager
def stopped(unit):
    """Have a unit stopped meanwhile, if it runs; whatever happens, it runs again."""
    if subprocess.run(["systemctl", "--quiet", "is-active", unit]).returncode:
        yield
        return
    try:
        subprocess.run(["systemctl", "stop", unit], check=True)
        yield
    finally:
        subprocess.run(["systemctl", "start", unit], check=True)


def keep_aside(database):
    """Give a database another name beside its own, whatever state it is in; that name.

    Its journals come along, since a hub that was killed has left the last of it there. An earlier
    one that was kept stays.
    """
    number = 1
    while any(map(os.path.lexists, database_files(aside(database, number), ("", *JOURNALS)))):
        number += 1
    kept = aside(database, number)
    try:
        for ending in ("", *JOURNALS):
            with suppress(FileNotFoundError):
                os.link(database + ending, kept + ending, follow_symlinks=False)
                os.chmod(kept + ending, 0o600)
    except BaseException:
        # It is still in its place, and a second name for what a hub writes to is no copy.
        remove(database_files(kept, ("", *JOURNALS)))
        raise
    return kept


def aside(database, number):
    """The name under which a database is kept."""
    return f"{database}{ASIDE}{f'-{number}' if number > 1 else ''}"


def database_files(database, endings):
    """What lies beside a database."""
    return [database + ending for ending in endings]


def remove(paths):
    """Remove files, if they are there."""
    for path in paths:
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
    """Restore everything; what is not as it was, and what of homes is lost, a line each."""
    restoring = Restoring(json.loads(source.readline()), directory, arguments)
    for name, mode, file in Reader(source):
        restoring.take(name, mode, file)
    restoring.end()
    return restoring.notes, restoring.lost


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
        notes, lost = restore(sys.stdin.buffer, directory, arguments)
        for line in notes:
            print(f"not as it was: {line}")
        os.sync()
        if lost:
            sys.exit("\n".join(["The hub is restored, and not all of the homes:", *lost]))
    except Failure as failure:
        sys.exit(f"The restore did not come to its end: {failure}")
    except Damaged as reason:
        sys.exit(f"The restore did not come to its end: the archive {reason}.")
    except (OSError, ValueError, LookupError, subprocess.CalledProcessError) as error:
        sys.exit(f"The restore did not come to its end: {error}.")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
