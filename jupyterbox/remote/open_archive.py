"""Read the archive of a backup, on the machine that has it.

Arguments: path, passphrase (a descriptor to read it from; null for none), plain. With `plain` it
prints the archive decrypted; else it checks all of it, and prints its manifest and its accounts.
"""

import contextlib
import json
import shutil
import sys

from archive import ACCOUNTS, LIMIT, Damaged, Reader
from gpg import GpgError, decrypting, read_passphrase

GZIP = b"\x1f\x8b"
OPENPGP = (0x8C, 0xC3)  # a packet for a passphrase, in the old format and the new


@contextlib.contextmanager
def opened(path, passphrase):
    """The archive as it was before it was encrypted, if it was.

    Raises:
        Damaged, GpgError: it is none, or does not open with this passphrase.
    """
    # gpg reads on from where the file stands: no buffer may be ahead of it.
    with open(path, "rb", buffering=0) as file:
        head = file.read(2)
        file.seek(0)
        if head == GZIP:
            yield file
        elif not head or head[0] not in OPENPGP:
            raise Damaged("is not a backup")
        elif passphrase is None:
            raise Damaged("is encrypted: say `--data passphrase_file=` with its passphrase in it")
        else:
            with decrypting(file, passphrase) as plain:
                yield plain


def checked(path, passphrase):
    """The manifest and the accounts of a whole archive.

    Raises:
        Damaged, GpgError: it is not.
    """
    accounts = None
    with opened(path, passphrase) as file:
        reader = Reader(file)
        for name, _, member in reader:
            if name == ACCOUNTS:
                accounts = member.read(LIMIT)
    try:
        return {"manifest": reader.manifest, "accounts": json.loads(accounts)}
    except (ValueError, TypeError, RecursionError):
        raise Damaged("has no accounts in it that can be read") from None


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    path, passphrase = arguments["path"], arguments["passphrase"]
    try:
        if passphrase is not None:
            passphrase = read_passphrase(passphrase)
        if arguments["plain"]:
            with opened(path, passphrase) as file:
                shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
        else:
            print(json.dumps(checked(path, passphrase)))
    except Damaged as reason:
        sys.exit(f"{path} {reason}.")
    except GpgError as reason:
        sys.exit(f"{path} cannot be decrypted: {reason}")
    except OSError as error:
        sys.exit(f"{error.filename or path}: {error.strerror}.")
