"""Read a conda environment from its files, without starting conda.

What conda keeps of an environment: conda-meta/NAME-VERSION-BUILD.json, a record for each package;
and conda-meta/history, what was asked for and what came of it. What pip keeps: a directory for each
package in site-packages. (conda's core/prefix_data.py and its loader for PyPI packages.)
"""

import os
import re
import stat
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from conda_history import channels, requested
from reading import Unreadable, entries, read, read_json, read_text, why

RECORD_LIMIT = 64 << 20  # bytes; a package of 100,000 files has a record of 30 MB
KEYS = ("name", "version", "build")
MARK = re.compile(
    r"lib/python3[^/]*/site-packages/([^/]+)"
    r"(?:(?<=\.dist-info)/RECORD|(?<=\.egg-info)(?:/PKG-INFO)?|(?<=\.egg)/EGG-INFO/PKG-INFO)"
)
INSTALLED = re.compile(r"(.+)\.(?:dist-info|egg-info|egg-link|egg)")


def moment(seconds):
    """A time as ISO 8601 in UTC; None for one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return None


def normal(name):
    """A Python package's name as conda lists it."""
    return re.sub(r"[._]", "-", name).lower()


def installed(entry):
    """The name and version of the Python package that a name in site-packages is the mark of."""
    match = INSTALLED.fullmatch(entry)
    # pip renames what it is about to remove.
    if not match or entry.startswith("~"):
        return None
    name, _, version = match[1].partition("-")
    return normal(name), re.sub(r"-py3.*", "", version)


class Prefix:
    """An environment on disk, and what was found to be wrong with it."""

    def __init__(self, path):
        """Read the names of its records; nothing else yet."""
        self.path = Path(path)
        self.problems = []
        # Whether all of it could be seen: else what is missing may only be hidden.
        self.whole = True
        self.files = self.record_files()
        self.stems = {}
        for stem in self.files:
            name, dash, build = stem.rpartition("-")
            name, dash, version = name.rpartition("-")
            if dash:
                self.stems[name] = (version, build)
            else:
                self.problem(f"conda-meta/{stem}.json is not named after a package")

    def problem(self, sentence):
        """Note something that is wrong, once."""
        if sentence not in self.problems:
            self.problems.append(sentence)

    def record_files(self):
        """The records by the names of their files, with what the file system knows of them."""
        try:
            found = list(os.scandir(self.path / "conda-meta"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            return self.hidden(f"conda-meta {why(error)}")
        names = sorted(
            entry.name
            for entry in found
            if entry.name.endswith(".json") and not entry.name.startswith("._")
        )
        records = {}
        for name in names:
            try:
                records[name[:-5]] = os.lstat(self.path / "conda-meta" / name)
            except FileNotFoundError:
                # conda is at it.
                continue
            except OSError as error:
                return self.hidden(f"conda-meta {why(error)}")
        return records

    def hidden(self, sentence):
        """Note that a part of it cannot be seen, which is told as empty."""
        self.whole = False
        self.problem(sentence)
        return {}

    @property
    def python(self):
        """The version of its Python; None where it has none."""
        return self.stems["python"][0] if "python" in self.stems else None

    def history(self):
        """The history's text; None where this is no environment."""
        try:
            return read_text(self.path / "conda-meta/history")
        except Unreadable as reason:
            if os.path.isdir(self.path / "conda-meta") or not self.problems:
                self.problem(f"conda-meta/history {reason}")
            return None

    def record(self, stem):
        """A package's record; None for one that is damaged, which is noted."""
        name = f"conda-meta/{stem}.json"
        try:
            content = read_json(self.path / name, RECORD_LIMIT)
        except Unreadable as reason:
            self.problem(f"{name} {reason}")
            return None
        told = [content.get(key) for key in KEYS] if isinstance(content, dict) else [None]
        if not all(isinstance(value, str) for value in told):
            self.problem(f"{name} is not a package's record")
            return None
        if "-".join(told) != stem:
            self.problem(f"{name} is the record of {'-'.join(told)}")
            return None
        return content

    def check_records(self, since=None):
        """Find damaged records. What was not touched since a time is taken to be as it was."""
        for stem, found in self.files.items():
            if since is not None and max(found.st_mtime, found.st_ctime) <= since and found.st_size:
                continue
            if since is not None or not looks_whole(self.path / f"conda-meta/{stem}.json"):
                self.record(stem)

    def packages(self):
        """Every package, its record read: conda's, and those from pip as conda tells of them.

        A record whose mark in site-packages is gone is left out, since pip has removed what it
        stands for. (`conda list` then removes the record itself.)
        """
        there, conda = self.python_packages(), []
        for record in filter(None, map(self.record, self.files)):
            files = record.get("files")
            files = files if isinstance(files, list) else []
            marks = [m[1] for path in files if (m := MARK.fullmatch(str(path)))]
            if all(mark in there for mark in marks):
                conda.append(record)
            else:
                self.problem(f"pip has removed {record['name']}, of which conda keeps a record")
        pip = [
            {"name": name, "version": v, "build": "pypi_0"} for name, v in self.from_pip().items()
        ]
        replaced = {package["name"] for package in pip}
        return [one for one in conda if one["name"] not in replaced] + pip

    def site_packages(self):
        """The directories from which its Python imports packages; one, in most."""
        if not self.python:
            return []
        minor = ".".join(self.python.split(".")[:2])
        # That of a free-threaded Python has a `t` behind it.
        found = {
            os.path.realpath(path) for path in self.path.glob(f"lib/python{minor}*/site-packages")
        }
        return [Path(path) for path in sorted(found)]

    def python_packages(self):
        """What has left its mark in site-packages, by the name of that: (name, version)."""
        found = {}
        for site in self.site_packages():
            try:
                names = entries(site)
            except Unreadable as reason:
                self.hidden(f"{site} {reason}")
                continue
            found.update((entry, package) for entry in names if (package := installed(entry)))
        return found

    def installer(self, entry):
        """Who says to have installed a Python package."""
        for site in self.site_packages():
            try:
                return read_text(site / entry / "INSTALLER").strip()
            except Unreadable:
                continue
        return ""

    def from_pip(self):
        """The Python packages that are not conda's, by name: version."""
        conda = {(normal(name), version) for name, (version, _) in self.stems.items()}
        strangers = {
            entry: package
            for entry, package in self.python_packages().items()
            if package not in conda and self.installer(entry) != "conda"
        }
        if strangers:
            owned = self.owners(strangers, self.stems)
            strangers = {entry: p for entry, p in strangers.items() if entry not in owned}
        return dict(strangers.values())

    def owners(self, marks, names):
        """Which of some conda packages brought which of some marks in site-packages."""
        found = {}
        for name in names:
            stem = "-".join((name, *self.stems[name]))
            try:
                text = read(self.path / f"conda-meta/{stem}.json", RECORD_LIMIT)
            except Unreadable:
                continue
            # No package's name needs to be escaped in JSON.
            for mark in marks:
                if os.fsencode(f"site-packages/{mark}") in text:
                    found[mark] = name
        return found


def looks_whole(path):
    """Whether a record ends as conda and rattler end one; reading them all takes too long."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        size = os.fstat(file).st_size
        tail = os.pread(file, 3, max(0, size - 3))
        return os.pread(file, 2, 0) == b"{\n" and tail.rstrip(b"\n").endswith(b"\n}")
    except OSError:
        return False
    finally:
        os.close(file)


def size_mb(path):
    """What a directory takes on the disk, in MB; a file with several names in it counts once."""
    seen, blocks = set(), 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                found = os.lstat(os.path.join(directory, name))
            except OSError:
                continue
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                blocks += found.st_blocks
    return blocks >> 11


def describe(path, size=False):
    """What there is to tell of any environment; what is wrong with it as `problems`."""
    prefix = Prefix(path)
    history = prefix.history()
    if prefix.python and not os.path.exists(prefix.path / "bin/python"):
        prefix.problem("bin/python is not there")
    by_pip = prefix.from_pip()
    changed = None
    with suppress(OSError):
        changed = moment(os.stat(prefix.path / "conda-meta/history").st_mtime)
    return prefix, {
        "prefix": str(path),
        "path": os.path.realpath(path),
        "python": prefix.python,
        "packages": len(prefix.stems) + len(by_pip.keys() - {*map(normal, prefix.stems)}),
        "from_pip": len(by_pip),
        "size_mb": size_mb(os.path.realpath(path)) if size else None,
        "requested": requested(history or "", prefix.stems),
        "channels": channels(history or "", prefix.files),
        "changed": changed,
        "problems": prefix.problems,
    }
