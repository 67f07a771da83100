"""Read what anybody may have left on the box: without waiting, and without reading on and on."""

import json
import os
import stat

LIMIT = 1 << 20  # bytes; what people write by hand is shorter


class Unreadable(Exception):
    """Why something cannot be read, as the end of a sentence: `is empty`."""


def read(path, limit=LIMIT):
    """A regular file's bytes.

    Args:
        path: the file's.
        limit: in bytes; a larger file is not read at all.

    Raises:
        Unreadable: it is none, is larger, or is not for us.
    """
    try:
        # Opening a device may do something, and a pipe would be waited for.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable("is not a regular file")
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(why(error)) from None
    except ValueError:
        raise Unreadable("is no path") from None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable("is not a regular file")
        if found.st_size > limit:
            raise Unreadable(f"is {found.st_size >> 20} MB, too large to be one")
        content = b""
        # /proc gives a page at a time, and no size.
        while len(content) < limit and (more := os.read(file, limit - len(content))):
            content += more
        return content
    except OSError as error:
        raise Unreadable(why(error)) from None
    finally:
        os.close(file)


def read_text(path, limit=LIMIT):
    """The same as text; what is not UTF-8 in it is replaced."""
    return read(path, limit).decode(errors="replace")


def read_json(path, limit=LIMIT):
    """The same as what it says in JSON.

    Raises:
        Unreadable: also where it is no JSON.
    """
    content = read(path, limit)
    if not content.strip(b"\0 \t\r\n"):
        raise Unreadable("is empty")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable("is not JSON") from None


def entries(directory):
    """The names in a directory, sorted; none where it is not there.

    Raises:
        Unreadable: it is there and cannot be listed.
    """
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except ValueError:
        raise Unreadable("is no path") from None
    except OSError as error:
        raise Unreadable(why(error)) from None


def why(error):
    """An OSError as the end of a sentence."""
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, PermissionError):
        return "is not readable for this account"
    return f"cannot be read: {error.strerror}"
