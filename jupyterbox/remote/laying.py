"""Lay files, copy and move them: whole or not at all, and on the disk before they are relied on."""

import errno
import os
import shutil
from contextlib import suppress


def free(path):
    """A path like it at which there is nothing."""
    number, found = 1, path
    while os.path.lexists(found):
        number += 1
        found = f"{path}-{number}"
    return found


def sync(path):
    """Have a file, or a directory's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory):
    """Have a directory with all that is in it on the disk."""
    for place, _, names in os.walk(directory):
        for path in (os.path.join(place, name) for name in names):
            if os.path.isfile(path) and not os.path.islink(path):
                sync(path)
        sync(place)


def lay(source, target, mode):
    """Put a copy of a file in its place."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(source, "rb") as file:
        write(target, file.read().decode(errors="surrogateescape"), mode)


def write(path, text, mode=0o600):
    """Write a file."""
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


def copy_tree(source, target):
    """Copy a directory to where there is none."""
    new = f"{target}.new"
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(source, new, symlinks=True)
    sync_tree(new)
    os.rename(new, target)


def own(path, like):
    """Give a file the owner and the mode of another."""
    found = os.stat(like)
    os.chown(path, found.st_uid, found.st_gid)
    os.chmod(path, found.st_mode & 0o7777)


def move(path, target):
    """Move a file; to another file system, as a copy that is whole before the file goes."""
    try:
        os.rename(path, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    new = f"{target}.new"
    with suppress(FileNotFoundError):
        os.unlink(new)
    shutil.copy2(path, new, follow_symlinks=False)
    if not os.path.islink(path):
        own(new, path)
        sync(new)
    os.rename(new, target)
    sync(os.path.dirname(target))
    os.unlink(path)


def aside(path, kept, but=None):
    """Move something out of the way, but for one directory below it."""
    if not os.path.lexists(path):
        return
    if not but or not os.path.isdir(os.path.join(path, but)):
        os.rename(path, free(kept))
        return
    first, _, rest = but.partition("/")
    os.makedirs(kept, exist_ok=True)
    for name in os.listdir(path):
        if name != first:
            os.rename(os.path.join(path, name), free(os.path.join(kept, name)))
    if rest:
        aside(os.path.join(path, first), os.path.join(kept, first), rest)
