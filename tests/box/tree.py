"""The file tree of a box, and what differs between two moments.

This file is also the program that walks the tree in the box: the standard library alone.
"""

import hashlib
import json
import os
import re
import stat
import sys

# What a running system writes by itself, and the records of who was here.
LEFT_OUT = re.compile(
    r"/(proc|sys|dev|run)(/|$)"
    r"|/(var/)?tmp(/systemd-private-[^/]*)?$"
    r"|/var/log(/|$)"
    r"|/var/lib/(systemd|private|wtmpdb|lastlog)(/|$)"
)

Tree = dict[str, str]


def entry(path: str) -> str:
    """One file, directory or link, as a line: everything of it but when it was read."""
    there = os.lstat(path)
    content = ""
    if stat.S_ISLNK(there.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(there.st_mode):
        with open(path, "rb") as file:
            content = hashlib.sha256(file.read()).hexdigest()
    size = 0 if stat.S_ISDIR(there.st_mode) else there.st_size
    owner = f"{there.st_uid}:{there.st_gid}"
    return f"{stat.filemode(there.st_mode)} {owner} {size} {there.st_mtime_ns} {content}"


def walk(top: str) -> Tree:
    """Everything below a directory, by path."""
    tree: Tree = {}
    for directory, directories, files in os.walk(top):
        paths = {name: os.path.join(directory, name) for name in [*directories, *files]}
        for path in paths.values():
            if not LEFT_OUT.match(path):
                tree[path] = entry(path)
        # What is left out is walked no further, but for /tmp, whose contents count.
        directories[:] = [
            name
            for name in directories
            if not LEFT_OUT.match(paths[name]) or paths[name] in ("/tmp", "/var/tmp")
        ]
    return tree


def difference(before: Tree, after: Tree) -> list[str]:
    """What differs, a line each."""
    return [
        f"{path}: {before.get(path, 'not there')} -> {after.get(path, 'not there')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


if __name__ == "__main__":
    json.dump(walk("/"), sys.stdout)
