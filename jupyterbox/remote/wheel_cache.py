"""uv's cache of wheels between builds, which one that was cut off cannot have spoiled."""

import fcntl
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

from durable import sync


@contextmanager
def wheel_cache(directory, name):
    """Hold a cache, alone, for as long as uv works with it; yields where it is.

    It takes what it once unpacked for whole. When the power fails, files may be empty of which the
    directory knows already: a cache that was in use then is thrown away.

    Args:
        directory: of all caches.
        name: of this one.
    """
    # Closed to users: uv's lock file in there is open to everybody, and who holds it stops a build.
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    cache, whole = Path(directory, name), Path(directory, f".{name}.whole")
    with open(Path(directory, f".{name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(cache, ignore_errors=True)
        whole.unlink(missing_ok=True)
        sync(directory)
        try:
            yield cache
        finally:
            os.sync()
            # On a full disk it is thrown away next time.
            with suppress(OSError):
                whole.touch()


def forget_unused(cache):
    """Remove the wheels that no release has files of any more; uv fetches what it misses.

    Args:
        cache: one whose wheels are hard-linked into releases.
    """
    for wheel in cache.glob("archive-v*/*"):
        files = (os.path.join(place, name) for place, _, names in os.walk(wheel) for name in names)
        if not any(os.lstat(file).st_nlink > 1 for file in files):
            shutil.rmtree(wheel, ignore_errors=True)
