"""What a unit that was made by hand starts, and where: told from its file and its drop-ins.

Not from systemd, which goes on with what it has read before: a file that has come back in the place
of a newer one is none that it finds changed.
"""

import glob
import os
import re
import shlex

from reading import Unreadable, read_text

BESIDES = ("/usr/lib/systemd/system", "/usr/local/lib/systemd/system", "/run/systemd/system")
"""Where drop-ins are, besides the unit's own directory, which comes before them."""
SAYS = re.compile(
    r"^[ \t]*(ExecStart|WorkingDirectory|User)[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE
)


class Starts:
    """What a unit starts: `words` of its command, the directory `place`; nothing without a file.

    `overridden` is the drop-in that has the command; None where the unit's own file has it.
    """

    def __init__(self, unit=None):
        said, self.overridden = {}, None
        for path in [unit, *drop_ins(unit)] if unit else []:
            now = dict(SAYS.findall(text_of(path)))
            if now.get("ExecStart") and path != unit:
                self.overridden = path
            said.update(now)
        try:
            self.words = shlex.split(said.get("ExecStart", "").lstrip("-@:+!"))
        except ValueError:
            self.words = []
        self.program = self.words[0] if self.words else None
        place = said.get("WorkingDirectory", "").lstrip("-")
        home = os.path.expanduser(f"~{said.get('User') or 'root'}")
        self.place = home if place == "~" else place or "/"

    def argument(self, *names):
        """What the command line says last under one of these names; None for nothing."""
        found = None
        for word, after in zip(self.words, [*self.words[1:], ""], strict=False):
            name, equals, value = word.partition("=")
            if name in names:
                found = value if equals else after
        return found


def drop_ins(unit):
    """The drop-ins of a unit, in systemd's order: by name, and the nearest of each name."""
    directory, name = os.path.split(unit)
    found = {}
    for place in (*BESIDES, directory):
        for path in glob.glob(f"{glob.escape(place)}/{glob.escape(name)}.d/*.conf"):
            found[os.path.basename(path)] = path
    return [found[name] for name in sorted(found)]


def text_of(path):
    """A file of a unit, a line each setting; nothing where it cannot be read."""
    try:
        return re.sub(r"\\\n", " ", read_text(path))
    except Unreadable:
        return ""
