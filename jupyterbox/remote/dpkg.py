"""What dpkg knows: the packages that are installed, and which of two versions is the newer."""

import re

from reading import read

STATUS = "/var/lib/dpkg/status"
LIMIT = 64 << 20  # bytes; a box with every package of a desktop has 5 MB
FIELD = re.compile(r"^(Package|Status|Architecture|Version): (.+)", re.MULTILINE)
PART = re.compile(r"([^0-9]*)([0-9]*)")


class Packages:
    """Those that are installed: version by name and architecture, and which of them are held."""

    def __init__(self, status=STATUS):
        """Read them.

        Raises:
            Unreadable: nobody can tell.
        """
        stanzas = [
            fields(stanza) for stanza in read(status, LIMIT).decode(errors="replace").split("\n\n")
        ]
        # dpkg is of the architecture that the box is of, as is what runs on any.
        self.native = next((s["Architecture"] for s in stanzas if s["Package"] == "dpkg"), "")
        self.versions, self.held = {}, set()
        for stanza in stanzas:
            wanted, _, state = stanza["Status"].rpartition(" ok ")
            # Of a package that was removed, the configuration may remain.
            if state in ("", "not-installed", "config-files"):
                continue
            self.versions[self.key(stanza)] = stanza["Version"]
            if wanted == "hold":
                self.held.add(self.key(stanza))

    def key(self, stanza):
        """What a package is known by: name and architecture."""
        architecture = stanza["Architecture"]
        return stanza["Package"], self.native if architecture == "all" else architecture


def fields(stanza):
    """What a stanza of dpkg's or of apt's says of a package; empty where it says nothing."""
    return dict.fromkeys(("Package", "Status", "Architecture", "Version"), "") | dict(
        FIELD.findall(stanza)
    )


def rank(version):
    """What versions are compared by, as deb-version(7) has it: `1.0~rc1` < `1.0` < `1.0+deb13`."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return number(epoch), parts(upstream), parts(revision)


def parts(text):
    """Words and numbers in turn, and then the end; nothing is as much as zero."""
    return [([*map(order, word), 0], number(digits)) for word, digits in PART.findall(text or "0")]


def order(character):
    """A tilde comes before the end of a word (0), that before letters, these before the rest."""
    if character == "~":
        return -1
    return ord(character) + (0 if character.isalpha() else 1 << 21)


def number(digits):
    """Digits as what they are compared by, however many there are."""
    digits = digits.lstrip("0")
    return len(digits), digits
