"""What conda and uv say when they fail, as one sentence."""

import json
import re


def last_line(text):
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def conda_reason(stdout, stderr):
    """Conda's own error as one sentence."""
    try:
        error = json.loads(stdout)
    except (ValueError, RecursionError):
        error = None
    if not isinstance(error, dict):
        # A malformed spec: conda cannot write that error as JSON, and ends in a traceback of it.
        raised = re.findall(r"^conda\.exceptions\.\w+: (.+)$", stderr, re.MULTILINE)
        return raised[-1] if raised else last_line(stderr or stdout)
    try:
        return described(next(iter(error.get("errors") or []), error))
    except (AttributeError, IndexError, KeyError, TypeError):
        # Another conda may describe its errors otherwise.
        return last_line(stderr or str(error.get("error", "")))


def described(error):
    """An error that conda wrote as JSON."""
    kind = str(error.get("exception_name", ""))
    message = error.get("message") or error.get("error", "")
    # Less the lines of the tree that a solver draws.
    lines = [line.strip(" -\u251c\u2514\u2502\u2500") for line in message.splitlines()]
    lines = [line for line in lines if line]
    if kind == "PackagesNotFoundInChannelsError":
        packages = ", ".join(map(repr, error["packages"]))
        channels = ", ".join(re.findall(r"^  - (.+)$", error["channels_formatted"], re.MULTILINE))
        return f"no package {packages} in {channels}"
    if "Unsatisfiable" in kind:
        ends = (":", ",", "require")
        clauses = [line if line.endswith(ends) else f"{line};" for line in lines]
        return "its packages exclude each other: " + " ".join(clauses).partition(": ")[2]
    if "ToS" in kind:
        return f"{lines[1]} asks for its Terms of Service, see Conda.accept_anaconda_terms"
    said = lines[0] if lines else kind
    url = error.get("url") or ""
    return said if url in said else f"{said} ({url})"


def uv_reason(stderr):
    """What uv says of its error: that, the first and the last of its causes."""
    _, found, error = stderr.partition("error: ")
    if not found:
        return last_line(stderr)
    said = error.split("\n\nhint:")[0].splitlines()
    causes = [line.partition("cause: ")[2] for line in said if line.startswith("  cause: ")]
    if "[stderr]" in error:
        # A package that does not build says why in its last line.
        causes.append(said[-1].strip())
    return ": ".join(dict.fromkeys([said[0], *causes[:1], *causes[-1:]]))
