"""The archive of a backup: a tar of regular files, and last the manifest, which says it is whole.

`tar -xzf` takes one apart, too. What reads one here trusts nothing in it.
"""

import gzip
import hashlib
import io
import json
import re
import tarfile
import time
import zlib
from contextlib import contextmanager

FORMAT = 1
MANIFEST = "manifest.json"
ACCOUNTS = "accounts.json"
DATABASE, SECRETS = "hub/database", ("hub/cookie_secret", "hub/proxy.env")
CONFIGURATION, DROP_INS, HOMES = "configuration/", "drop-ins/", "homes/"

CHUNK = 8 << 20  # bytes; a home's tar is a member for each, as nobody knows its size before
LIMIT = 64 << 20  # bytes of what is kept in memory as a whole

KNOWN = re.compile(
    r"accounts\.json|manifest\.json|hub/(database|cookie_secret|proxy\.env)|homes/(?!\.{1,2}/)[^/\0]+/\d{8}|"
    r"(configuration|locks|drop-ins/jupyterhub(-proxy)?\.service\.d)(/(?!\.{1,2}(/|$))[^/\0]+)+"
)


class Damaged(Exception):
    """Why an archive is of no use, as the end of a sentence: `is damaged`."""


class Hashing:
    """A file that is read, and the sha256 of what has been read of it."""

    def __init__(self, file):
        """Of a file that stands at its beginning."""
        self.file, self.size, self.sha256 = file, 0, hashlib.sha256()

    def read(self, size=-1):
        """Some bytes more.

        Raises:
            Damaged: it lies in an archive that cannot be read.
        """
        with telling():
            content = self.file.read(size)
        self.size += len(content)
        self.sha256.update(content)
        return content

    def told(self):
        """What the manifest says about it; it must have been read to its end."""
        return {"size": self.size, "sha256": self.sha256.hexdigest()}


@contextmanager
def telling():
    """Say `Damaged` for all that the standard library says about bad bytes."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise Damaged(f"is damaged ({error})") from None


class Writer:
    """An archive that is being written to a file, which need not be seekable."""

    def __init__(self, file):
        """Begin it."""
        self.members = {}
        self.packed = gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file)
        self.tar = tarfile.TarFile(fileobj=self.packed, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, name, content, mode=0o600):
        """Add a member that is in memory."""
        self.add_from(name, io.BytesIO(content), len(content), mode)

    def add_from(self, name, file, size, mode=0o600):
        """Add a member from a file that has so many bytes, or more."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, mode, int(time.time())
        hashing = Hashing(file)
        self.tar.addfile(info, hashing)
        self.members[name] = hashing.told()

    def close(self, about):
        """Write the manifest, and end it."""
        about = {"format": FORMAT, **about, "members": dict(self.members)}
        self.add(MANIFEST, json.dumps(about, indent=1).encode())
        self.tar.close()
        self.packed.close()


class Reader:
    """An archive that is read from a file, once, from its beginning to its end.

    Iterating yields (name, mode, file) for each member but the manifest; each is checked when the
    next one is asked for, and `manifest` is there when all of them have been.
    """

    def __init__(self, file):
        """Begin; nothing is read yet."""
        self.packed = gzip.GzipFile(fileobj=file, mode="rb")
        self.found, self.manifest = {}, None

    def __iter__(self):
        """Yield the members.

        Raises:
            Damaged: it is not whole, or nothing that a backup has written.
        """
        with telling():
            tar = tarfile.TarFile.open(fileobj=self.packed, mode="r|")
        while info := self.following(tar):
            with telling():
                member = Hashing(tar.extractfile(info))
            if info.name == MANIFEST:
                self.manifest = read_manifest(member, self.found)
                continue
            yield info.name, info.mode & 0o777, member
            while member.read(1 << 20):
                pass
            self.found[info.name] = member.told()
        with telling():
            # The checksum of what gzip has packed stands at its end.
            while more := self.packed.read(1 << 20):
                if more.strip(b"\0"):
                    raise Damaged("goes on after its end")
        if self.manifest is None:
            raise Damaged("is incomplete: it has no manifest, which is written last")

    def following(self, tar):
        """The next member, if it may be one; None at the end."""
        with telling():
            info = tar.next()
        # Nothing that one member says may reach the next.
        tar.members = []
        if info is None:
            return None
        if self.manifest is not None:
            raise Damaged(f"has {info.name!r} after its manifest")
        plain = info.type == tarfile.REGTYPE and info.size >= 0 and not info.pax_headers
        if not plain or not KNOWN.fullmatch(info.name):
            raise Damaged(f"has {info.name!r} in it, which no backup writes")
        if info.name in self.found:
            raise Damaged(f"has {info.name!r} in it twice")
        return info


def read_manifest(file, found):
    """The manifest, if it is of these members.

    Raises:
        Damaged: it is not, or is of a format that this cannot read.
    """
    content = file.read(LIMIT)
    try:
        manifest = json.loads(content)
        format, members = manifest["format"], manifest["members"]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise Damaged("has a manifest that cannot be read") from None
    if format != FORMAT:
        by = manifest.get("by", "another Jupyterbox")
        raise Damaged(f"is of format {format!r}, by {by}; this one reads format {FORMAT}")
    if not isinstance(members, dict):
        raise Damaged("has a manifest that cannot be read")
    for name in sorted({*members, *found}):
        if members.get(name) != found.get(name):
            raise Damaged(f"is damaged: {name!r} is not what the manifest says")
    return manifest
