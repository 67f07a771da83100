"""Read kernelspecs as Jupyter does: what it cannot start with is none."""

import json
import os

from reading import Unreadable, read

TEXTS = ("display_name", "language", "mimetype", "kernel_protocol_version")


def read_spec(directory):
    """What a kernelspec says.

    Raises:
        Unreadable: it is none; why, as the end of a sentence about its kernel.json.
    """
    content = read(f"{directory}/kernel.json")
    if not content.strip(b"\0 \t\r\n"):
        raise Unreadable("is empty")
    try:
        # Jupyter takes UTF-8 only, and none with a byte order mark.
        spec = json.loads(content.decode())
    except (ValueError, RecursionError):
        raise Unreadable("is not JSON") from None
    flaw = flaw_of(spec)
    if flaw:
        raise Unreadable(f"is not a kernelspec: {flaw}")
    return spec


def flaw_of(spec):
    """What Jupyter refuses a kernelspec for; None where it takes it."""
    if not isinstance(spec, dict):
        return "it is no object"
    argv = spec.get("argv")
    if not isinstance(argv, list) or not all(map(is_word, argv)) or not "".join(argv[:1]):
        return "argv is no command"
    env = spec.get("env", {})
    if not isinstance(env, dict) or not all(map(is_word, [*env, *env.values()])):
        return "env is no set of variables"
    if not isinstance(spec.get("metadata", {}), dict):
        return "metadata is no object"
    for key in TEXTS:
        if not isinstance(spec.get(key, ""), str):
            return f"{key} is no text"
    if str(spec.get("interrupt_mode", "signal")).lower() not in ("signal", "message"):
        return "interrupt_mode is neither signal nor message"
    return None


def is_word(value):
    """Whether a process can be started with it."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False
