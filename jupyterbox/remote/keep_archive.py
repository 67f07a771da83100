"""Keep the archive that comes in on standard input: whole, read back, for its owner alone.

Arguments: directory (`make` it, or refuse where it is not there), name, debris (a regular
expression: what runs that were killed have left), passphrase (a descriptor to read it from; null
for none), progress (whether to say how far it is). Prints as JSON its path, its size, what it lacks
(notes) and what it should not lack (failed).
"""

import contextlib
import fcntl
import json
import os
import re
import sys
import time

from archive import Damaged, Reader
from gpg import GpgError, decrypting, encrypting, read_passphrase

HEARTBEAT = 10  # seconds


def keep(source, directory, name, debris, passphrase, progress):
    """Write it under another name, read it back, and give it its own.

    Raises:
        Damaged: what came in is not a whole archive.
        GpgError: it could not be encrypted.
    """
    sweep(directory, debris)
    part = os.path.join(directory, f".{name}.part")
    with open(part, "xb", opener=for_owner_alone) as file:
        try:
            # Who sweeps sees by it that this one is at work.
            fcntl.flock(file, fcntl.LOCK_EX)
            with encrypted(file, passphrase) as target:
                copy(source, target, progress)
            file.flush()
            os.fsync(file.fileno())
            manifest = check(part, passphrase)
            path = os.path.join(directory, name)
            os.rename(part, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
            raise
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    homes = (manifest["homes"] or {}).values()
    notes = [f"{home['home']}: {note}" for home in homes for note in home["notes"]]
    lacks = {"notes": [*manifest.get("notes", []), *notes], "failed": manifest.get("failed", [])}
    return {"path": path, "size": os.stat(path).st_size, **lacks}


def sweep(directory, debris):
    """Remove what runs that were killed have left, and nothing that somebody still writes to."""
    for entry in os.listdir(directory):
        if not re.fullmatch(debris, entry):
            continue
        path = os.path.join(directory, entry)
        with contextlib.suppress(FileNotFoundError, BlockingIOError), open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)


def for_owner_alone(path, flags):
    """Open a file that nobody else can."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def encrypted(file, passphrase):
    """What writes to a file, encrypting if there is a passphrase."""
    return encrypting(file, passphrase) if passphrase else contextlib.nullcontext(file)


def copy(source, target, progress):
    """Copy all that comes, and say how much that was."""
    size, told = 0, time.monotonic()
    try:
        while content := source.read(1 << 20):
            target.write(content)
            size += len(content)
            if progress and time.monotonic() - told > HEARTBEAT:
                told = time.monotonic()
                print(f"{size >> 20} MB so far", flush=True)
    except BrokenPipeError:
        # Who encrypts has ended; it says why.
        return


def check(path, passphrase):
    """Read an archive from its beginning to its end; its manifest.

    Raises:
        Damaged, GpgError: it is not whole.
    """
    with open(path, "rb") as file:
        source = decrypting(file, passphrase) if passphrase else contextlib.nullcontext(file)
        with source as plain:
            reader = Reader(plain)
            for _ in reader:
                pass
    return reader.manifest


if __name__ == "__main__":
    os.umask(0o077)
    arguments = json.loads(sys.argv[1])
    make = arguments.pop("make")
    where = arguments["directory"]
    try:
        if make:
            os.makedirs(where, mode=0o700, exist_ok=True)
        if arguments["passphrase"] is not None:
            arguments["passphrase"] = read_passphrase(arguments["passphrase"])
        print(json.dumps(keep(sys.stdin.buffer, **arguments)))
    except Damaged as reason:
        sys.exit(f"What came of the backup {reason}: nothing is kept.")
    except GpgError as reason:
        sys.exit(f"Nothing is kept: {reason}")
    except OSError as error:
        sys.exit(f"Nothing is kept: {error.filename or where}: {error.strerror}.")
