"""Remove files and directories; whoever dies at it has left nothing that passes for whole.

Arguments: files, directories (which stay, empty, where they are links or disks of their own),
folders (that go where nothing is left in them; none by default).
"""

import errno
import glob
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

from mountinfo import mounted_below

MARKS = ("release.json", "*/release.json", "*/*/release.json", "releases/*/*/release.json")
MARKS += ("conda-meta/history",)
"""What says that a release, or conda, is complete: in a root, in its releases, in those of one."""


def remove(files, directories, folders=()):
    """Remove everything, in this order; nothing while something is mounted in a directory."""
    refuse_mounted(directories)
    for path in files:
        with suppress(FileNotFoundError):
            os.unlink(path)
    for path in directories:
        with suppress(FileNotFoundError):
            clear(path)
    for folder in folders:
        tidy(folder)
        tidy(os.path.dirname(folder))


def refuse_mounted(directories):
    """Stop at what is mounted in some directories: what it shows lies elsewhere, and is not ours.

    A device's number would not tell: what is bound from the same file system has the same.
    """
    for mount in mounted_below(directories):
        raise OSError(errno.EBUSY, "something is mounted there", mount)


def clear(directory):
    """Remove what is in a directory, and itself unless it is a link or a disk of its own."""
    for path in marks(directory):
        with suppress(FileNotFoundError):
            os.unlink(path)
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                # It takes minutes: somebody can have mounted something meanwhile.
                refuse_mounted([directory])
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    if not os.path.islink(directory) and not os.path.ismount(directory):
        os.rmdir(directory)


def marks(directory):
    """The marks in a directory; not those that a link in it leads to elsewhere."""
    inside = f"{os.path.realpath(directory)}/"
    for mark in MARKS:
        for path in glob.glob(os.path.join(glob.escape(directory), mark)):
            if os.path.realpath(path).startswith(inside):
                yield path


def tidy(folder):
    """Remove a directory that nothing is in and that no package has brought."""
    # /etc and the like hold the rest together, whoever brought them.
    empty = folder.count("/") > 1 and os.path.isdir(folder) and not os.listdir(folder)
    if empty and not packaged(folder):
        os.rmdir(folder)


def packaged(path):
    """Whether a package has brought it; where that cannot be told, it has."""
    asked = subprocess.run(["dpkg-query", "--search", path], capture_output=True)
    return asked.returncode != 1


if __name__ == "__main__":
    try:
        remove(**json.loads(sys.argv[1]))
    except OSError as error:
        sys.exit(f"{error.filename} cannot be removed: {error.strerror}.")
