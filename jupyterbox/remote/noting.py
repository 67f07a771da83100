"""The journal of what this project has made on the box; see operations/journal.py."""

import os


def note(journal, kind, name):
    """Note something before it is made: a run may die between the two, or the power fail.

    Args:
        journal: the file.
        kind: `account`, `group` or `file`.
        name: of that kind.
    """
    file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, os.fsencode(f"{kind} {name}\n"))
        os.fsync(file)
    finally:
        os.close(file)
