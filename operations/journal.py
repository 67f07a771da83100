"""The journal on the box: what this project has made there, where nothing else could tell.

What lies where layout.py says, or where the settings do, needs no entry; nor does what a release
holds. A line is a kind and a name: `package curl`, `account ada`. tasks/remove.py reads it.
"""

from __future__ import annotations

from pyinfra.api.command import QuoteString, StringCommand

from jupyterbox import layout


def noting(kind: str, *names: str, unless: str = "") -> StringCommand:
    """The command that notes what is about to be made.

    It stands before the act: a run may die between the two, and one that is noted and was never
    made is in nobody's way.

    + kind: `package`, `conda`, `file`, `account`, `group`, `hold`, `component` or `due`
    + names: of that kind
    + unless: a test of the shell's; where it succeeds, it is not ours to make
    """
    lines = [QuoteString(f"{kind} {name}") for name in names]
    journal, state = layout.JOURNAL, layout.STATE
    # The power may fail right after the act.
    note = f"mkdir -p -m 700 {state} && printf '%s\\n'"
    return StringCommand(
        *([unless, "||", "{"] if unless else []),
        note,
        *lines,
        f">>{journal} && sync {journal} {state}",
        *(["; }"] if unless else []),
    )
