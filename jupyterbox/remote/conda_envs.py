"""Print every global conda environment: what is in it, and what was changed by hand.

Arguments: root (conda's), size (whether to add up what each takes on the disk).
"""

import json
import os
import sys
from pathlib import Path

from answering import answer
from drift import drift
from prefix import describe
from reading import Unreadable, entries, read_json, why

RECORD_LIMIT = 64 << 20  # bytes
WRITE_TEST = ".conda_envs_dir_test"  # conda's own, left behind where it may write


def environment(root, path, size):
    """One environment; our releases with their id, when they were built, and their drift."""
    prefix, row = describe(path, size)
    real = Path(row["path"])
    row.update(release=None, built=None, drift=[])
    built = None
    if real.parent.parent == root / "releases":
        row["release"] = real.name
        built = add_drift(prefix, row, real / "release.json")
    prefix.check_records(built)
    return row


def add_drift(prefix, row, path):
    """Compare a release with its record; when that was written."""
    try:
        record = read_json(path, RECORD_LIMIT)
        built = os.stat(path).st_mtime
        row.update(built=record["built"], drift=drift(prefix, record, built))
    except Unreadable as reason:
        prefix.problem(f"release.json {reason}")
    except (LookupError, TypeError, AttributeError):
        prefix.problem("release.json is not the record of a release")
    else:
        return built
    return None


def why_none(path):
    """Why an entry of the environments' directory is no environment; None where it is one."""
    if os.path.islink(path) and not os.path.exists(path):
        return f"is a link to {os.readlink(path)}, which is not there"
    try:
        os.listdir(path)
    except OSError as error:
        return why(error)
    return None


def state(root, size):
    """Conda's base and what is in its directory of environments, by name."""
    problems, found = [], {}
    try:
        names = [name for name in entries(root / "envs") if name != WRITE_TEST]
    except Unreadable as reason:
        names = []
        problems.append({"name": "envs", "path": f"{root}/envs", "sentence": str(reason)})
    paths = {name: root / "envs" / name for name in names}
    if (root / "conda-meta").exists():
        paths = {"base": root, **paths}
    for name, path in paths.items():
        reason = why_none(path)
        if reason:
            problems.append({"name": name, "path": str(path), "sentence": reason})
        else:
            found[name] = environment(root, path, size)
    return {"environments": found, "broken": problems}


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    # The root may be a link to a larger disk.
    answer(state(Path(os.path.realpath(arguments["root"])), arguments["size"]))
