"""Print conda's state as JSON: is it there, which environments, which releases of them.

Reads files only: starting conda costs half a second, and it would touch its caches.
"""

import json
import os
import sys
from pathlib import Path

from old_releases import previous


def entries(directory):
    """The names in a directory; none where it is not."""
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def environment(root, name):
    """One environment: the release its link names, the releases that are complete."""
    link, releases = root / "envs" / name, root / "releases" / name
    current = None
    if link.is_symlink():
        target = Path(os.path.realpath(link))
        current = target.name if target.parent == releases else None
    return {
        "current": current,
        "previous": previous(releases, current),
        # A directory that is no link was made by hand; it is not ours to replace.
        "plain": link.exists() and not link.is_symlink(),
        "complete": [
            release
            for release in entries(releases)
            if (releases / release / "release.json").exists()
        ],
    }


def closed(path):
    """Whether nobody but root can change a path; what is not there cannot be changed."""
    try:
        found = os.stat(path)
    except OSError:
        return True
    return found.st_uid == 0 and not found.st_mode & 0o022


def state(root):
    """What is in a root of conda."""
    names = {*entries(root / "envs"), *entries(root / "releases")} - {".conda_envs_dir_test"}
    return {
        # The marker stands while an installer runs; one that was interrupted left half a conda.
        "installed": (root / "conda-meta/history").exists()
        and (root / "bin/conda").exists()
        and not (root / ".jupyterbox-installing").exists(),
        # root runs what is in there.
        "owned": all(closed(path) for path in (root, root / "bin", root / "bin/conda")),
        "environments": {name: environment(root, name) for name in sorted(names)},
    }


if __name__ == "__main__":
    # The root may be a link to a larger disk.
    print(json.dumps(state(Path(os.path.realpath(json.loads(sys.argv[1])["root"])))))
