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
from functools import partial

from answering import answer, need_root
from homes import homes_of, look_into
from interpreter import lacking, prefix_of, program_of, trouble
from kernelspec import read_spec
from reading import Unreadable, why

NOBODY = 65534
NAME = re.compile(r"[a-z0-9._-]+", re.IGNORECASE | re.ASCII)
# The first is before the global ones in Jupyter's order, the second after them.
OWN = [".local/share/jupyter/kernels", ".ipython/kernels"]
LONG = 500  # characters of what somebody else wrote; more is no name of anything


class Judge:
    """What kernelspecs are measured by: where conda and the hub lie, whose home it is."""

    def __init__(self, kernels, hub, conda_root, home):
        """Links are followed: a root may be one to a larger disk."""
        self.kernels, self.home = kernels, home
        self.conda, self.hub = os.path.realpath(conda_root), os.path.realpath(hub)
        self.server = os.path.realpath(f"{hub}/current")

    def specs(self, folder):
        """The kernelspecs in a directory, in the order in which Jupyter meets them.

        Raises:
            Unreadable: it cannot be listed.
        """
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Unreadable(f"{folder} {why(error)}") from None
        found = (self.entry(folder, name) for name in names)
        return [spec for spec in found if spec is not None]

    def entry(self, folder, name):
        """A kernelspec; None for a file that lies beside them."""
        directory = f"{folder}/{name}"
        try:
            if not stat.S_ISDIR(os.stat(directory).st_mode):
                return None
        except OSError as error:
            link = os.path.islink(directory)
            reason = "is a link that leads nowhere" if link else why(error)
            return blank(directory, f"its directory {reason}")
        try:
            spec = read_spec(directory)
        except Unreadable as error:
            return blank(directory, f"kernel.json {error}")
        ours = isinstance(spec.get("metadata", {}).get("jupyterbox"), dict)
        return {
            **blank(directory, None),
            "title": clip(spec.get("display_name")),
            "language": clip(spec.get("language")),
            "ours": ours and folder == self.kernels,
            **self.start(spec, directory),
        }

    def start(self, spec, directory):
        """What a kernelspec starts, and why it cannot."""
        program = program_of(spec, directory, self.server, self.home)
        environment, release, prefix = self.environment(program)
        problem = trouble(program)
        if problem:
            problem = f"interpreter {clip(program)} {problem}"
            if self.is_gone(prefix):
                problem = f"its release {clip(prefix)} is gone"
        return {
            "interpreter": clip(program),
            "prefix": clip(prefix),
            "environment": environment,
            "release": release,
            "problem": problem or lacking(spec, program, prefix, self.home),
        }

    def environment(self, program):
        """The global environment and the release that a program is of, and the prefix of both."""
        prefix = prefix_of(program)
        # Where a program lies tells more than what is left of a damaged environment.
        for path in filter(None, (os.path.dirname(program), prefix)):
            real = os.path.realpath(path)
            if real == self.conda:
                return "base", None, real
            inside = real[len(self.conda) + 1 :] if real.startswith(f"{self.conda}/") else ""
            kind, name, release = [*inside.split("/"), "", ""][:3]
            if kind == "releases" and release:
                return clip(name), clip(release), f"{self.conda}/releases/{name}/{release}"
            if kind == "envs" and name:
                return clip(name), None, f"{self.conda}/envs/{name}"
        return None, None, prefix

    def is_gone(self, prefix):
        """Whether a prefix is a release, of an environment or of the hub, that is not there."""
        releases = (f"{self.conda}/releases/", f"{self.hub}/releases/")
        return bool(prefix) and prefix.startswith(releases) and not os.path.lexists(prefix)


def blank(directory, problem):
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
        "problem": problem,
        # Jupyter takes it for a kernelspec, good or bad; not part of the answer.
        "seen": os.path.isfile(f"{directory}/kernel.json"),
    }


def clip(text):
    """A text that fits into a table."""
    return text if text is None or len(text) <= LONG else f"{text[:LONG]}…"


def look(path, judged, places):
    """What is asked of a home, or of one of the global places: its kernelspecs, and what is closed.

    Args:
        path: the home or the place.
        judged: what a `Judge` needs besides a home.
        places: the global ones.
    """
    home = None if path in places else path
    judge, found, closed = Judge(*judged, home), [], []
    for folder in [path] if home is None else [f"{home}/{own}" for own in OWN]:
        found.append([])
        try:
            found[-1] = judge.specs(folder)
        except Unreadable as error:
            closed.append(str(error))
    if home is None and os.getuid() == 0:
        closed = [ordinary(reason) for reason in closed]
        for spec in found[0]:
            spec["problem"] = ordinary(spec["problem"])
    return {"specs": found, "closed": closed, "real": os.path.realpath(path)}


def ordinary(reason):
    """What keeps one account from a global kernelspec, and so any that is not special."""
    end = "for this account"
    return f"{reason[: -len(end)]}for ordinary accounts" if (reason or "").endswith(end) else reason


def global_specs(answers, kernels, others):
    """The published kernelspecs, and those of the other global places, in Jupyter's order."""
    found, seen = {}, set()
    for place in [kernels, *others]:
        # A release has a link to the published ones, which are not there twice.
        if place in answers and answers[place]["real"] not in seen:
            seen.add(answers[place]["real"])
            found[place] = answers[place]["specs"][0]
    published = found.pop(kernels, [])
    return published, [spec for specs in found.values() for spec in specs]


def shadow(specs, user):
    """Mark those kernelspecs of a user that others of the same name win over.

    Args:
        specs: all that the user has, in Jupyter's order.
        user: whose are marked; None for the global ones.

    Returns:
        Those.
    """
    winners = {}
    for spec in specs:
        if spec["seen"]:
            winners.setdefault(spec["name"].lower(), spec["directory"])
    # To Jupyter this is another name of the same.
    winners["python"] = winners.get("python3", winners.get("python"))
    own = [spec for spec in specs if spec["user"] == user]
    for spec in own:
        winner = winners.get(spec["name"].lower())
        spec["shadowed_by"] = winner if winner != spec["directory"] else None
    return own


def accounts(user):
    """The homes of everybody, or of one; for one's own one needs no root."""
    try:
        own = user is not None and pwd.getpwnam(user).pw_uid == os.geteuid()
    except KeyError:
        sys.exit(f"the box has no account {user!r}.")
    if not own:
        need_root("the homes of others")
    return homes_of(user)


def users_specs(answers, homes, published, others):
    """Every account's own kernelspecs, and which of them do not win."""
    found = []
    for user in (name for name, *_ in homes if name in answers):
        before, after = answers[user]["specs"]
        for spec in (*before, *after):
            spec["user"] = user
        found += shadow([*published, *before, *others, *after], user)
    return found


def is_ours(specs):
    """Whether the global `python3` is the one that was published of the environment python3."""
    winner = next(
        (spec for spec in specs if spec["name"].lower() == "python3" and spec["seen"]), {}
    )
    return bool(winner) and winner["ours"] and winner["environment"] == "python3"


def state(kernels, others, hub, conda_root, user, users):
    """Every kernelspec, whose `python3` the global one is, and what was not looked into."""
    homes, places = accounts(user) if users else [], [kernels, *others]
    question = partial(look, judged=(kernels, hub, conda_root), places=places)
    asked = [(place, NOBODY, NOBODY, place) for place in places]
    answers, skipped = look_into([*asked, *homes], question)
    skipped.update({at: "; ".join(got["closed"]) for at, got in answers.items() if got["closed"]})
    published, later = global_specs(answers, kernels, others)
    shared = shadow([*published, *later], None)
    own = users_specs(answers, homes, published, later)
    ranked = sorted(shared + own, key=lambda spec: (spec["user"] or "", spec["name"]))
    return {
        "kernelspecs": [{key: it[key] for key in it if key != "seen"} for it in ranked],
        "python3_is_ours": is_ours(shared),
        "deployed": os.path.islink(f"{hub}/current"),
        "skipped": skipped,
    }


if __name__ == "__main__":
    answer(state(**json.loads(sys.argv[1])))
