"""What is wrong with the hub's configuration, told without executing any of it."""

import os
import re
import warnings

from hub_releases import listed
from journal import unknown_options
from reading import Unreadable, read


def sources(file, directory):
    """The configuration in the order of its reading: by path the bytes, or why there are none."""
    more = [name for name in listed(directory) if name.endswith(".py")]
    found = {}
    for path in [file, *(os.path.join(directory, name) for name in more)]:
        try:
            found[path] = read(path)
        except Unreadable as reason:
            found[path] = reason
    return found


def broken(found):
    """Those of the sources that no hub can read: {file, line, error} each."""
    warnings.simplefilter("ignore")
    for path, source in found.items():
        line, said = None, f"it {source}"
        if isinstance(source, bytes):
            try:
                compile(source, path, "exec", dont_inherit=True)
                continue
            except SyntaxError as error:
                line, said = error.lineno, f"SyntaxError: {error.msg}"
            except (ValueError, RecursionError, MemoryError) as error:
                said = str(error) or "it is nested too deeply"
        yield {"file": path, "line": line, "error": said}


def not_recognized(found, unit, since):
    """The options that the hub has not recognized, and where they are set.

    Args:
        found: the sources.
        unit: the hub's.
        since: when it started, in seconds since the epoch.
    """
    for option, owner, hint in unknown_options(unit, since):
        file, line = place(found, rf"\b{owner}\.{option}\b") or (None, None)
        said = f"{owner} has no option {option}{f' ({hint})' if hint else ''}"
        yield {"file": file, "line": line, "error": said}


def place(found, pattern):
    """The file and the line where something stands last, which is what counts."""
    last = None
    for path, source in found.items():
        if isinstance(source, bytes):
            for number, line in enumerate(source.decode(errors="replace").splitlines(), 1):
                if re.search(pattern, line):
                    last = path, number
    return last
