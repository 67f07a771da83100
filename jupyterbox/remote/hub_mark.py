"""The mark of a switch of the hub that was not seen to its end: where it has started from."""

import os
from collections import namedtuple

from durable import write
from old_releases import history, is_complete
from reading import Unreadable, read_text

MARK = ".switching"  # in the directory of releases

LAID, TAKEN = "laid", "taken"
"""What became of a copy of the database: it lies ready for the target, it has taken the place."""

NONE = "-"

# The release that ran before, the one that a rollback goes to, what became of a copy for that; the
# last two are None where there is none.
Mark = namedtuple("Mark", ["before", "target", "copy"], defaults=[None, None])


def noted(directory, current):
    """The mark in a directory of releases; None for none.

    One that says nothing is as good as the history, where the release that was left stands last.
    """
    path = os.path.join(directory, MARK)
    try:
        words = read_text(path).split()
    except Unreadable:
        if not os.path.lexists(path):
            return None
        words = []
    if words and is_complete(directory, words[0]):
        return Mark(*(None if word == NONE else word for word in words[:3]))
    left = [name for name in history(directory) if name != current and is_complete(directory, name)]
    return Mark(left[-1]) if left else None


def note(directory, mark):
    """Leave a mark, which is on the disk before anything is switched."""
    write(os.path.join(directory, MARK), " ".join(word or NONE for word in mark) + "\n")


def forget(directory):
    """A switch was seen to its end."""
    try:
        os.unlink(os.path.join(directory, MARK))
    except FileNotFoundError:
        return
