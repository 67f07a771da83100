"""Remove releases that nobody needs; one that a process has begun to use meanwhile stays.

Arguments: directory (of the releases), link (the one to the current release), names (what goes),
beside (files that go with a release, as a path with {} for its name; none by default).
"""

import json
import os
import shutil
import sys
from contextlib import suppress

from mountinfo import mounted_below
from old_releases import ASIDE, being_built, in_use, spellings


def prune(directory, link, names, beside=()):
    """Remove releases, each at once for everybody who looks for complete ones."""
    current = os.path.basename(os.path.realpath(link)) if os.path.islink(link) else None
    # What is still set aside is in the way of the next one of that name.
    for name in sorted(names, key=lambda name: not ASIDE.fullmatch(name)):
        if ASIDE.fullmatch(name):
            finish(directory, name)
        elif name != current and not being_built(directory, name):
            remove(directory, name, beside)


def finish(directory, name):
    """Remove what a run that died had set aside, unless somebody lives on, under either name."""
    path = os.path.join(directory, name)
    if not in_use(spellings(directory, name)) and not mounted_below([path]):
        shutil.rmtree(path)


def remove(directory, name, beside):
    """Set a release aside, and remove it unless somebody has come to use it."""
    path, aside = os.path.join(directory, name), os.path.join(directory, f".{name}.removed")
    if not os.path.isdir(path) or os.path.lexists(aside):
        return
    if in_use([path]) or mounted_below([path]):
        return
    os.rename(path, aside)
    if in_use([path, aside]):
        # It was started from in the moment between.
        os.rename(aside, path)
        return
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(aside, "release.json"))
    shutil.rmtree(aside)
    for file in (os.path.join(directory, f".{name}.lock"), *(p.format(name) for p in beside)):
        with suppress(FileNotFoundError):
            os.unlink(file)
    print(f"removed release {name} of {directory}", flush=True)


if __name__ == "__main__":
    try:
        prune(**json.loads(sys.argv[1]))
    except OSError as error:
        sys.exit(f"{error.filename} cannot be removed: {error.strerror}.")
