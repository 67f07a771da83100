"""Which releases of the hub or of an environment may go: too many, too old, and nobody's."""

import os
import re
from contextlib import suppress

from mountinfo import mounted_below

HISTORY = ".history"  # in the directory of releases, what its link has named: the last one is below
TELLS = ("cmdline", "environ", "maps")  # of a process, what names the files that it lives on
RELEASE = re.compile(r"[0-9a-f]{12}(-\d+)?")
ASIDE = re.compile(r"\..+\.removed")


def surplus(directory, current, keep, proc="/proc"):
    """What a deploy removes of a directory of releases, by name.

    Args:
        directory: where they lie.
        current: the one that the link names, or is about to.
        keep: how many stay, with the current one; more do that a process still runs from, or that
            something is mounted in.
        proc: where the kernel tells of processes.
    """
    names = [*by_use(directory, current)[keep:], *debris(directory, current)]
    paths = {name: spellings(directory, name) for name in names}
    used = in_use([path for found in paths.values() for path in found], proc) if names else set()
    return [
        name
        for name, found in paths.items()
        if not used.intersection(found) and not mounted_below(found)
    ]


def spellings(directory, name):
    """The paths by which processes may know a release: one that was set aside had another."""
    names = [name, name[1:].removesuffix(".removed")] if ASIDE.fullmatch(name) else [name]
    return [os.path.join(directory, each) for each in names]


def by_use(directory, current):
    """The complete releases: the current one, those that were left last, those built last."""
    left = history(directory)
    ranks = {name: rank for rank, name in enumerate(left)}

    def rank(name):
        return (name == current, ranks.get(name, -1), built_at(directory, name), name)

    found = [name for name in listed(directory) if is_complete(directory, name)]
    if current and current not in found:
        # It is about to be built.
        found.append(current)
    return sorted(found, key=rank, reverse=True)


def history(directory):
    """The releases that have been current before, in the order in which they were left."""
    try:
        with open(os.path.join(directory, HISTORY)) as file:
            return file.read().split()
    except (OSError, ValueError):
        return []


def previous(directory, current):
    """The release that was current before; None where there is none to go back to.

    Where nothing tells that, it is the one that was built last before the current one: one that was
    built later may never have been current, as after a run that died before its switch.
    """
    there = [name for name in by_use(directory, current) if name != current]
    left, limit = history(directory), built_at(directory, current or "")
    earlier = (name for name in there if name in left or built_at(directory, name) < limit)
    return next(earlier, None)


def listed(directory):
    """The names in a directory that can be releases."""
    try:
        return sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except OSError:
        return []


def is_complete(directory, name):
    """Whether a release was built to its end."""
    return os.path.isfile(os.path.join(directory, name, "release.json"))


def built_at(directory, name):
    """When a release was complete, in seconds; one that is not there is about to be."""
    try:
        return os.stat(os.path.join(directory, name, "release.json")).st_mtime
    except OSError:
        return float("inf")


def debris(directory, current):
    """What was not finished: builds that nobody is at, and removals."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    for name in names:
        path = os.path.join(directory, name)
        if os.path.islink(path) or not os.path.isdir(path):
            continue
        # Anything else somebody has put there.
        unfinished = RELEASE.fullmatch(name) and not os.path.lexists(f"{path}/release.json")
        if ASIDE.fullmatch(name) or (
            unfinished and name != current and not being_built(directory, name)
        ):
            yield name


def being_built(directory, name):
    """Whether a run that builds a release holds its lock."""
    try:
        lock = os.stat(os.path.join(directory, f".{name}.lock")).st_ino
        with open("/proc/locks") as locks:
            held = [line.split() for line in locks]
    except OSError:
        return False
    return any(f[1] == "FLOCK" and f[5].rpartition(":")[2] == str(lock) for f in held if len(f) > 5)


def in_use(paths, proc="/proc"):
    """Those of some releases that a process runs from, works in, has loaded, or was told of.

    One look at each process for all of them; one that ends meanwhile uses nothing. Only root is
    shown every process.
    """
    spelled = {os.fsencode(p): path for path in paths for p in (path, os.path.realpath(path))}
    # The longest first, and not `3a94` in `3a94-2`.
    names = b"|".join(map(re.escape, sorted(spelled, key=len, reverse=True)))
    mention = re.compile(rb"(" + names + rb")(?![\w.-])")
    found = set()
    for pid in filter(str.isdigit, os.listdir(proc)):
        if int(pid) != os.getpid():
            found |= {spelled[name] for name in mention.findall(told_by(f"{proc}/{pid}"))}
        if len(found) == len(paths):
            break
    return found


def told_by(process):
    """Everything that a process's directory in /proc says of files; nothing for a kernel's own."""
    said = []
    try:
        said.append(os.fsencode(os.readlink(f"{process}/exe")))
    except OSError:
        return b""
    for name in TELLS:
        try:
            with open(f"{process}/{name}", "rb") as file:
                said.append(file.read())
        except OSError:
            continue
    with suppress(OSError):
        said.append(os.fsencode(os.readlink(f"{process}/cwd")))
    return b"\n".join(said)
