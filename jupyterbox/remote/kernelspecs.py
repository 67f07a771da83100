"""Print every kernelspec of the box: what it starts, whether that can be, and which one wins.

Global ones are judged as an account that is in no group of the box, a user's as that user.

Arguments: kernels (the published ones' directory), others (the directories of global ones that
Jupyter searches after a user's own), hub (its root), conda_root, user (null for every account),
users (whether homes are looked into).
"""

import json
import os
import pwd
import re
import stat
import sys

from answering import answer, need_root
from homes import homes_of, look_into
from interpreter import lacking, prefix_of, program_of, trouble
from kernelspec import read_spec
from reading import Unreadable, why

NOBODY = 65534
NAME = re.compile(r"[a-z0-9._-]+", re.IGNORECASE | re.ASCII)
# The first is before the global ones in Jupyter's order, the second after them.
OWN = (".local/share/jupyter/kernels", ".ipython/kernels")
LONG = 500  # characters of what somebody else wrote; more is no name of anything


def specs_in(folder, kernels, hub, home=None):
    """The kernelspecs in a directory, in the order in which Jupyter meets them.

    Args:
        folder: the directory.
        kernels: where those lie that were published.
        hub: its root.
        home: of the account whose they are; None for global ones.

    Raises:
        Unreadable: it cannot be listed.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Unreadable(f"{folder} {why(error)}") from None
    found = (spec_at(f"{folder}/{name}", kernels, hub, home) for name in names)
    return [spec for spec in found if spec is not None]


def spec_at(directory, kernels, hub, home):
    """A kernelspec and what it shall start; None for a file that lies beside them."""
    try:
        if not stat.S_ISDIR(os.stat(directory).st_mode):
            return None
    except OSError as error:
        dead = os.path.islink(directory)
        reason = "is a link that leads nowhere" if dead else why(error)
        return unread(directory, f"its directory {reason}")
    try:
        spec = read_spec(directory)
    except Unreadable as error:
        return unread(directory, f"kernel.json {error}")
    program = program_of(spec, directory, os.path.realpath(f"{hub}/current"), home)
    ours = isinstance(spec.get("metadata", {}).get("jupyterbox"), dict)
    row = {
        **blank(directory),
        "title": clip(spec.get("display_name")),
        "language": clip(spec.get("language")),
        "ours": ours and os.path.dirname(directory) == kernels,
        "interpreter": clip(program),
    }
    start = {"program": program, "argv": spec["argv"], "env": spec.get("env", {}), "home": home}
    return {"row": row, "seen": True, "start": start}


def unread(directory, problem):
    """A kernelspec that is none; a file of its name hides others all the same."""
    seen = os.path.isfile(f"{directory}/kernel.json")
    return {"row": {**blank(directory), "problem": problem}, "seen": seen, "start": None}


def blank(directory):
    """A kernelspec that nothing is known of."""
    name = os.path.basename(directory)
    return {
        "name": name,
        "title": None,
        "language": None,
        "directory": directory,
        "user": None,
        "ours": False,
        "interpreter": None,
        "prefix": None,
        "environment": None,
        "release": None,
        "shadowed_by": None,
        "valid_name": NAME.fullmatch(name) is not None,
        "problem": None,
    }


def clip(text):
    """A text that fits into a table."""
    return text if text is None or len(text) <= LONG else f"{text[:LONG]}…"


def judge(start, conda, hub):
    """What a kernelspec starts, and why it cannot."""
    program = start["program"]
    environment, release, prefix = environment_of(program, conda)
    problem = trouble(program)
    if problem:
        problem = f"interpreter {clip(program)} {problem}"
        releases = (f"{conda}/releases/", f"{hub}/releases/")
        if prefix and prefix.startswith(releases) and not os.path.lexists(prefix):
            problem = f"its release {clip(prefix)} is gone"
    return {
        "prefix": clip(prefix),
        "environment": clip(environment),
        "release": clip(release),
        "problem": problem or lacking(start, program, prefix, start["home"]),
    }


def environment_of(program, conda):
    """The global environment and the release that a program is of, and the prefix of both."""
    prefix = prefix_of(program)
    # Where a program lies tells more than what is left of a damaged environment.
    for path in filter(None, (os.path.dirname(program), prefix)):
        real = os.path.realpath(path)
        if real == conda:
            return "base", None, real
        inside = real[len(conda) + 1 :] if real.startswith(f"{conda}/") else ""
        kind, name, release = [*inside.split("/"), "", ""][:3]
        if kind == "releases" and release:
            return name, release, f"{conda}/releases/{name}/{release}"
        if kind == "envs" and name:
            return name, None, f"{conda}/envs/{name}"
    return None, None, prefix


def judge_all(specs, conda_root, hub):
    """Complete the rows of kernelspecs, each judged as the account that it is given with.

    What one starts may lie on a server that is gone, wherever its kernel.json lies: programs are
    looked at one by one, as homes are.
    """
    groups = {}
    for spec in specs:
        if spec["start"]:
            groups.setdefault((*spec["as"], spec["start"]["program"]), []).append(spec)

    def question(program):
        conda, real_hub = os.path.realpath(conda_root), os.path.realpath(hub)
        group = groups[os.geteuid(), os.getegid(), program]
        return [judge(spec["start"], conda, real_hub) for spec in group]

    answers, skipped = look_into([(str(key), *key) for key in groups], question)
    for key, group in groups.items():
        unknown = [{"problem": skipped.get(str(key))}] * len(group)
        for spec, verdict in zip(group, answers.get(str(key), unknown), strict=True):
            spec["row"].update(verdict)


def read_all(accounts, places, hub):
    """Every kernelspec as it is written, by account.

    Args:
        accounts: as `homes_of` returns them; global places stand among them.
        places: the global ones, the published ones' first.
        hub: its root.

    Returns:
        By account or place the kernelspecs of each of its directories and where it really lies;
        and why for those that did not answer.
    """

    def question(path):
        home, found, closed = None if path in places else path, [], []
        for folder in [path] if home is None else [f"{home}/{own}" for own in OWN]:
            found.append([])
            try:
                found[-1] = specs_in(folder, places[0], hub, home)
            except Unreadable as error:
                closed.append(str(error))
        return {"specs": found, "closed": "; ".join(closed), "real": os.path.realpath(path)}

    answers, skipped = look_into(accounts, question)
    skipped.update({name: found["closed"] for name, found in answers.items() if found["closed"]})
    for name, uid, gid, _ in accounts:
        for spec in (spec for specs in answers.get(name, {}).get("specs", []) for spec in specs):
            spec["as"] = (uid, gid)
            spec["row"]["user"] = None if name in places else name
    return answers, skipped


def in_jupyters_order(answers, places):
    """The kernelspecs that are before a user's own, and those after them."""
    found, seen = {}, set()
    for place in places:
        # A release has a link to the published ones, which are not there twice.
        if place in answers and answers[place]["real"] not in seen:
            seen.add(answers[place]["real"])
            found[place] = answers[place]["specs"][0]
    before = found.pop(places[0], [])
    return before, [spec for specs in found.values() for spec in specs]


def shadow(specs, user):
    """Mark those of a user's kernelspecs that others of the same name win over.

    Args:
        specs: all that the user has, in Jupyter's order.
        user: whose are marked; None for the global ones.
    """
    winners = {}
    for spec in specs:
        if spec["seen"]:
            winners.setdefault(spec["row"]["name"].lower(), spec["row"]["directory"])
    # To Jupyter this is another name of the same.
    winners["python"] = winners.get("python3", winners.get("python"))
    for row in (spec["row"] for spec in specs):
        winner = winners.get(row["name"].lower())
        if row["user"] == user and winner != row["directory"]:
            row["shadowed_by"] = winner


def is_ours(specs):
    """Whether the global `python3` is the one that was published of the environment python3."""
    named = (spec["row"] for spec in specs if spec["seen"])
    winner = next((row for row in named if row["name"].lower() == "python3"), None)
    return winner is not None and winner["ours"] and winner["environment"] == "python3"


def ordinary(reason):
    """A reason that keeps one account from a global kernelspec, and so all but root."""
    end = "this account"
    if reason and reason.endswith(end) and os.geteuid() == 0:
        return reason[: -len(end)] + "ordinary accounts"
    return reason


def homes(user):
    """The homes of everybody, or of one; one's own needs no root."""
    try:
        own = user is not None and pwd.getpwnam(user).pw_uid == os.geteuid()
    except KeyError:
        sys.exit(f"the box has no account {user!r}.")
    if not own:
        need_root("the homes of others")
    return homes_of(user)


def state(kernels, others, hub, conda_root, user, users):
    """Every kernelspec, whose `python3` the global one is, and what was not looked into."""
    places = [kernels, *others]
    accounts = [(place, NOBODY, NOBODY, place) for place in places] + (homes(user) if users else [])
    if os.geteuid() != 0:
        accounts = [(name, os.geteuid(), os.getegid(), home) for name, _, _, home in accounts]
    answers, skipped = read_all(accounts, places, hub)
    before, after = in_jupyters_order(answers, places)
    shared, own = before + after, []
    shadow(shared, None)
    for name in sorted(answers.keys() - places):
        first, last = answers[name]["specs"]
        shadow([*before, *first, *after, *last], name)
        own += first + last
    judge_all(shared + own, conda_root, hub)
    for row in (spec["row"] for spec in shared):
        row["problem"] = ordinary(row["problem"])
    rows = [spec["row"] for spec in shared + own]
    return {
        "kernelspecs": sorted(rows, key=lambda row: (row["user"] or "", row["name"])),
        "python3_is_ours": is_ours(shared),
        "deployed": os.path.islink(f"{hub}/current"),
        "skipped": {at: ordinary(it) if at in places else it for at, it in skipped.items()},
    }


if __name__ == "__main__":
    answer(state(**json.loads(sys.argv[1])))
