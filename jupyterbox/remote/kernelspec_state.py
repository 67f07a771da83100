"""Print the published kernelspecs, and those that each environment's current release brings.

Arguments: kernels (the published ones' directory), others (further directories of global ones),
conda_root, environments, releases (by environment, in place of the current one), keep (how many
releases of each stay; null for all).
"""

import json
import os
import re
import sys
from pathlib import Path

from kernelspec import read_spec
from old_releases import surplus
from reading import Unreadable, read


def spec_in(directory):
    """A kernelspec's content; None for what is none."""
    try:
        return read_spec(directory)
    except Unreadable:
        return None


def specs(directory):
    """The kernelspecs in a directory, by name."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return {}
    return {name: spec_in(directory / name) for name in names if (directory / name).is_dir()}


def surplus_of(root, name, keep, directories):
    """The releases of an environment that may go, each with the kernelspecs that name it."""
    link, releases = root / "envs" / name, root / "releases" / name
    target = Path(os.path.realpath(link))
    current = target.name if link.is_symlink() and target.parent == releases else None
    found = surplus(releases, current, keep)
    texts = all_specs(directories) if found else {}
    return {release: naming(releases / release, texts) for release in found}


def all_specs(directories):
    """What every global kernelspec says, by its directory."""
    # A hub's release has a link to the published ones in the place of its own.
    places = {os.path.realpath(directory): Path(directory) for directory in reversed(directories)}
    found = {}
    for path in (spec for place in reversed(places.values()) for spec in sorted(place.glob("*"))):
        try:
            found[str(path)] = read(path / "kernel.json")
        except Unreadable:
            continue
    return found


def naming(release, texts):
    """The kernelspecs that name a release."""
    # Not `3a94` in `3a94-2`.
    name = re.compile(re.escape(os.fsencode(release)) + rb"(?![\w.-])")
    return [path for path, text in texts.items() if name.search(text)]


def state(kernels, others, conda_root, environments, releases, keep):
    """What is published, what the environments bring, and which of their releases are too many."""
    # The root may be a link to a larger disk.
    root, offered, old = Path(os.path.realpath(conda_root)), {}, {}
    for name in environments:
        link = root / "envs" / name
        prefix = root / "releases" / name / releases[name] if name in releases else link
        prefix = Path(os.path.realpath(prefix))
        found = specs(prefix / "share/jupyter/kernels")
        offered[name] = {
            "prefix": str(prefix),
            "specs": {key: spec for key, spec in found.items() if spec is not None},
        }
        if keep and (found := surplus_of(root, name, keep, [kernels, *others])):
            old[name] = found
    return {"published": specs(Path(kernels)), "offered": offered, "surplus": old}


if __name__ == "__main__":
    print(json.dumps(state(**json.loads(sys.argv[1]))))
