"""Print as JSON what of this project is on a box, or of one environment, and who lives on it.

Arguments: files, directories (ours, where they are there), conda (its root), profile (the link for
login shells), journal (a file), units (ours, whose processes do not count); or conda and name.
"""

import json
import os
import sys

from answering import answer, need_root
from gpu_use import holder
from mountinfo import mounted_below
from reading import Unreadable, entries, read_text

MARK = "# Written by Jupyterbox"


def noted(path):
    """What the journal says, by kind."""
    try:
        text = read_text(path)
    except Unreadable:
        return {}
    found = {}
    # A last line without an end is torn: what it was about to name has not been made.
    lines = text[: text.rfind("\n") + 1].splitlines()
    for kind, space, name in (line.partition(" ") for line in lines):
        if space and name not in found.setdefault(kind, []):
            found[kind].append(name)
    return found


def environments(root, name=None):
    """Links to releases in a root of conda, and the directories of releases; of one if named."""
    links = [f"{root}/envs/{each}" for each in listed(f"{root}/envs") if name in (None, each)]
    below = os.path.realpath(f"{root}/releases") + "/"
    # A link that leads elsewhere is somebody else's.
    links = [
        link for link in links if os.path.islink(link) and os.path.realpath(link).startswith(below)
    ]
    releases = [
        f"{root}/releases/{each}" for each in listed(f"{root}/releases") if name in (None, each)
    ]
    return links, releases


def by_hand(root):
    """What people have in a root of conda: their environments, and those that were set aside."""
    links, _ = environments(root)
    # Not by what is in it: one of venv's or uv's has no conda-meta.
    paths = [f"{root}/envs/{name}" for name in listed(f"{root}/envs")]
    found = [path for path in paths if path not in links and os.path.isdir(path)]
    kept = [f"{root}/by-hand/{name}" for name in listed(f"{root}/by-hand")]
    # A link there is what a run that died at setting aside has left.
    return found + [path for path in kept if not os.path.islink(path)]


def listed(directory):
    """The names in a directory; none where it is none."""
    try:
        return entries(directory)
    except Unreadable:
        return []


def of_conda(root, profile, ours):
    """What of conda goes, files and directories: all where it is ours, else what was added."""
    if ours:
        own = os.path.realpath(profile) == os.path.realpath(f"{root}/etc/profile.d/conda.sh")
        return [profile] if own and os.path.islink(profile) else [], [root]
    files, _ = environments(root)
    if content(f"{root}/.condarc").startswith(MARK):
        files.append(f"{root}/.condarc")
    return files, [f"{root}/releases"]


def lives_on(paths, units=(), proc="/proc"):
    """The processes that run from some paths, work in them or have loaded something of them.

    What a shell was merely told in its environment, it does not live on.

    Args:
        paths: directories.
        units: whose processes are left out.
    """
    places = {f"{spelled}/" for path in paths for spelled in (path, os.path.realpath(path))}
    found = []
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
        process = f"{proc}/{pid}"
        group = content(f"{process}/cgroup")
        if any(f"/{unit}" in group for unit in units):
            continue
        if any(f"{file}/".startswith(tuple(places)) for file in files_of(process)):
            name = content(f"{process}/comm").strip()
            found.append({"pid": pid, "name": name, **holder(pid, proc)})
    return found


def files_of(process):
    """The files and directories that a process in /proc lives on, as far as they can be told."""
    for link in ("exe", "cwd"):
        try:
            yield os.readlink(f"{process}/{link}")
        except OSError:
            # A kernel's own, or one that ends meanwhile.
            return
    yield from content(f"{process}/cmdline").split("\0")
    for line in content(f"{process}/maps", 1 << 26).splitlines():
        yield line.partition("/")[1] + line.partition("/")[2]


def content(path, limit=1 << 20):
    """A file's text; nothing where it cannot be read."""
    try:
        return read_text(path, limit)
    except Unreadable:
        return ""


def belongings(files, directories, conda, profile, journal, units):
    """Everything that a removal of everything decides on."""
    journal = noted(journal)
    ours = journal.get("conda", [])
    files, of_condas = [*files, *journal.get("file", [])], []
    # Those that were made before conda.root was changed, too: the journal goes with the rest.
    for root in dict.fromkeys([*ours, conda]):
        of_files, of_directories = of_conda(root, profile, root in ours)
        files += of_files
        of_condas += of_directories
    directories = there([*of_condas, *directories])
    return {
        "files": there(files),
        "directories": directories,
        "by_hand": [path for root in ours for path in by_hand(root)],
        "mounts": mounted_below(directories),
        "journal": journal,
        "users": lives_on(directories, units),
    }


def of_environment(conda, name):
    """The same of one environment."""
    files, directories = environments(conda, name)
    return {
        "files": files,
        "directories": directories,
        "by_hand": [path for path in there([f"{conda}/envs/{name}"]) if path not in files],
        "mounts": mounted_below(directories),
        "journal": {},
        "users": lives_on(directories),
    }


def there(paths):
    """Those paths at which there is something."""
    return [path for path in paths if os.path.lexists(path)]


if __name__ == "__main__":
    need_root("What of Jupyterbox is on a box")
    arguments = json.loads(sys.argv[1])
    answer(of_environment(**arguments) if "name" in arguments else belongings(**arguments))
