"""Print accounts' private conda environments.

Arguments: root (conda's, whose environments are not private), user (or null for all), size.
"""

import json
import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path

from answering import answer, need_root
from homes import homes_of, look_into
from prefix import describe
from reading import Unreadable, entries, read_text


def prefixes(home, root):
    """Where a home's environments lie: those that conda has noted, and those at its usual place."""
    noted = []
    with suppress(Unreadable):
        noted = read_text(f"{home}/.conda/environments.txt").splitlines()
    own = [f"{home}/.conda/envs", *(f"{line.strip()}/envs" for line in noted if line.strip())]
    for directory in own:
        try:
            noted += [f"{directory}/{name}" for name in entries(directory)]
        except Unreadable:
            continue
    found = {os.path.normpath(line.strip()) for line in noted if line.strip().startswith("/")}
    shared = (f"{root}/", f"{os.path.realpath(root)}/")
    return sorted(path for path in found if not f"{path}/".startswith(shared))


def environments(home, root, size):
    """The environments of one account."""
    found = []
    for path in prefixes(home, root):
        # conda keeps what was removed by hand in its notes; a directory without this is none.
        if os.path.exists(f"{path}/conda-meta"):
            prefix, row = describe(path, size)
            prefix.check_records()
            found.append({"name": Path(path).name, **row})
    return found


def state(root, user, size):
    """The environments of everybody who answers, and who did not."""
    if user != pwd.getpwuid(os.geteuid()).pw_name:
        need_root("the homes of others")
    homes = homes_of(user)
    if user is not None and not homes:
        sys.exit(f"the box has no account {user!r}.")
    answers, skipped = look_into(homes, lambda home: environments(home, root, size))
    rows = [{"user": name, **row} for name in sorted(answers) for row in answers[name]]
    return {"environments": rows, "skipped": skipped}


if __name__ == "__main__":
    answer(state(**json.loads(sys.argv[1])))
