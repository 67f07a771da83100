"""Print every global conda environment: what is in it, and what was changed by hand.

Arguments: root (conda's), size (whether to add up what each takes on the disk).
"""

import json
import os
import sys
from pathlib import Path

from answering import answer, need_root
from drift import drift
from homes import look_into
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
        row.update(built=str(record["built"]), drift=drift(prefix, record, built))
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
    if os.path.isdir(root) and not os.access(root, os.R_OK | os.X_OK):
        need_root(f"{root}")
    problems, found = [], {}
    try:
        names = [name for name in entries(root / "envs") if name != WRITE_TEST]
    except Unreadable as reason:
        names = []
        problems.append({"name": "envs", "path": f"{root}/envs", "sentence": str(reason)})
    paths = {name: root / "envs" / name for name in names}
    if os.path.exists(root / "conda-meta"):
        paths = {"base": root, **paths}
    answers = {name: told(root, path, size) for name, path in paths.items() if inside(root, path)}
    # What is linked from elsewhere may lie on a mount that is dead.
    me = (os.geteuid(), os.getegid())
    elsewhere = [(name, *me, str(path)) for name, path in paths.items() if name not in answers]
    more, skipped = look_into(elsewhere, lambda path: told(root, path, size))
    answers |= more | {name: (None, reason) for name, reason in skipped.items()}
    for name, path in paths.items():
        row, reason = answers[name]
        if row is None:
            problems.append({"name": name, "path": str(path), "sentence": reason})
        else:
            found[name] = row
    return {"environments": found, "broken": problems}


def inside(root, path):
    """Whether an entry is conda's own, told without following a link."""
    if not os.path.islink(path):
        return True
    target = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    return f"{target}/".startswith(f"{root}/")


def told(root, path, size):
    """One environment and None, or None and why it is none."""
    try:
        reason = why_none(path)
        return (None, reason) if reason else (environment(root, Path(path), size), None)
    except Exception as error:
        # Whatever is in it, the others are told.
        return None, f"cannot be read ({type(error).__name__})"


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    # The root may be a link to a larger disk.
    answer(state(Path(os.path.realpath(arguments["root"])), arguments["size"]))
