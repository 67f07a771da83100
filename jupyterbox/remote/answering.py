"""How a program answers: one JSON value on standard output, or one sentence on standard error."""

import codecs
import json
import os
import sys


def answer(value):
    """Print a value as JSON in ASCII, which survives any locale on the way.

    A file name may be any bytes; those that are no text are shown as `\\xff`.
    """
    codecs.register_error("json", escaped)
    text = json.dumps(value, ensure_ascii=False)
    sys.stdout.write(text.encode("ascii", "json").decode() + "\n")


def escaped(error):
    """What stands for characters that are not ASCII in a JSON string."""
    shown = []
    for character in error.object[error.start : error.end]:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            shown.append(f"\\\\x{code - 0xDC00:02x}")
        elif 0xD800 <= code <= 0xDFFF:
            shown.append("\\ufffd")
        else:
            shown.append(json.dumps(character)[1:-1])
    return "".join(shown), error.end


def need_root(what):
    """End the program unless root runs it: half an answer would be taken for the whole.

    Args:
        what: can only be read by root, as the start of a sentence.
    """
    if os.geteuid() != 0:
        sys.exit(f"{what} can only be read by root: run this fact with _sudo=true.")
