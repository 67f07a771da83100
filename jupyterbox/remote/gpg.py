"""Encrypt and decrypt with a passphrase, by GnuPG: whoever changes a byte is noticed.

The passphrase goes through a pipe, and stands in no process list.
"""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress

GPG = ["gpg", "--batch", "--no-tty", "--quiet", "--no-options", "--pinentry-mode=loopback"]
# As slow to guess as its format can say.
ENCRYPT = ["--symmetric", "--cipher-algo=AES256", "--s2k-digest-algo=SHA512"]
ENCRYPT += ["--s2k-count=65011712", "--compress-algo=none", "--force-mdc"]


class GpgError(Exception):
    """Why it did not work, as a sentence."""


def read_passphrase(descriptor):
    """The first line of an open file, which is closed.

    Raises:
        GpgError: it is empty.
    """
    with open(descriptor, "rb") as file:
        passphrase = file.readline(1 << 16).rstrip(b"\r\n")
    if not passphrase:
        raise GpgError("The passphrase is empty.")
    return passphrase


@contextmanager
def encrypting(target, passphrase):
    """A file to write to; what is written comes out encrypted at another, which is open.

    Raises:
        GpgError: it did not work.
    """
    with running(ENCRYPT, passphrase, stdin=subprocess.PIPE, stdout=target) as gpg:
        yield gpg.stdin


@contextmanager
def decrypting(source, passphrase):
    """A file to read from: what is encrypted in another. It counts when the end has been reached.

    Raises:
        GpgError: the passphrase is another, or a byte has changed.
    """
    with running(["--decrypt"], passphrase, stdin=source, stdout=subprocess.PIPE) as gpg:
        yield gpg.stdout


@contextmanager
def running(options, passphrase, **streams):
    """Run it, with a home of its own: none of somebody's settings, and no agent is left behind."""
    if not shutil.which("gpg"):
        raise GpgError("There is no gpg here: apt-get install gpg.")
    home = tempfile.mkdtemp(prefix="jupyterbox-gpg-")
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, passphrase + b"\n")
        os.close(write_end)
        process = subprocess.Popen(
            [*GPG, f"--homedir={home}", f"--passphrase-fd={read_end}", *options],
            pass_fds=[read_end],
            stderr=subprocess.PIPE,
            **streams,
        )
        try:
            yield process
        except Exception:
            # What was wrong with what came out of it may be its own.
            end(process)
            raise
        end(process)
    finally:
        os.close(read_end)
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], stderr=subprocess.DEVNULL)
        shutil.rmtree(home, ignore_errors=True)


def end(process):
    """Let it come to its end.

    Raises:
        GpgError: it failed.
    """
    if process.stdout:
        while process.stdout.read(1 << 20):
            pass
        process.stdout.close()
    if process.stdin:
        with suppress(BrokenPipeError):
            process.stdin.close()
    said = process.stderr.read().decode(errors="replace").strip().splitlines()
    process.stderr.close()
    if process.wait():
        reason = said[-1].removeprefix("gpg: ").rstrip(".") if said else "it failed"
        raise GpgError(f"gpg says: {reason}.")
