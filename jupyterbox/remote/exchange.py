"""Let two paths trade places at one stroke, whatever lies there: renameat2(2)."""

import ctypes
import errno
import os

AT_FDCWD = -100
RENAME_EXCHANGE = 2


def exchange(one, other):
    """Have each of two paths of one file system name what the other has named.

    A file system that cannot (some network's) gets two renames, between which `one` is not there.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    paths = os.fsencode(one), os.fsencode(other)
    if renameat2 and not renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE):
        return
    error = ctypes.get_errno() if renameat2 else errno.ENOSYS
    if error not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(error, os.strerror(error), one)
    aside = f"{other}.exchanged"
    os.rename(one, aside)
    os.rename(other, one)
    os.rename(aside, other)
