"""What a unit wrote to the journal about itself: errors and warnings, and no secret."""

import json
import re

from units import said

TIMEOUT = 2  # seconds
LINES = 300  # of the journal that are looked at
SHOWN = 3  # errors
WIDTH = 300  # characters of each

# Which of its runs an entry is from: one of its processes', or systemd's about it.
RUN = ("_SYSTEMD_INVOCATION_ID", "INVOCATION_ID")
# Being told to end is none to JupyterHub alone.
HEAD = re.compile(r"\[[EC] [\d-]+ [\d:.]+ [^]]*\] (?!Received signal)(.+)")
RAISED = re.compile(r"\s*([\w.]*(?:Error|Exception|Exit|Interrupt)\b.*)")
FRAME = re.compile(r'\s*File "([^"]*/jupyterhub_config[^"]*)", line (\d+)')
PROXY = re.compile(r"\S+ \[ConfigProxy\] error: (.*)")
SYSTEMD = re.compile(r"[\w@.-]+\.service: ((?:Failed (?!with)|Unable ).*)")
READY = re.compile(r"JupyterHub is now running|Started .*\(configurable-http-proxy\)")
COLOUR = re.compile(r"\x1b\[[\d;]*m")
UNKNOWN_OPTION = re.compile(
    r"Config option `(\w+)` not recognized by `(\w+)`(?:\.\s*(Did you mean [\w`:, ]+\?))?"
)

SECRET = re.compile(
    r"(?i)((?:secret|token|passw|passphrase|credential|cookie|authorization|"
    r"(?:api|private)[ _-]?key)\w*).*"
)
USER_IN_URL = re.compile(r"(://)[^/\s]+@")
# A path is none, though it may be as long.
KEY = re.compile(r"(?<![\w/.])[\w+=-][\w+/=-]{23,}|[\w+=-]{24,}")
MASK = "***"


def errors(unit, starting=False):
    """The last errors that a unit wrote to the journal, the newest last.

    Args:
        unit: one that has ended.
        starting: it is on its way again; how it ended before counts until it has come as far.
    """
    by_run = {}
    for run, line in read(unit):
        by_run.setdefault(run, []).append(line)
    runs = list(by_run.values())[::-1]
    if starting and runs and any(map(READY.search, runs[0])):
        return []
    for lines in runs[: 2 if starting else 1]:
        if found := list(dict.fromkeys(failures(lines))):
            return [masked(line)[:WIDTH].rstrip(".") for line in found[-SHOWN:]]
    return []


def failures(lines):
    """What went wrong in one run, in its own words."""
    frame = None
    for line in lines:
        if match := FRAME.match(line):
            frame = f"{match[1]}, line {match[2]}"
        elif match := RAISED.match(line) or SYSTEMD.match(line) or PROXY.match(line):
            yield f"{frame}: {match[1]}" if frame else match[1]
            frame = None
        elif match := HEAD.match(line):
            yield match[1]


def unknown_options(unit, since):
    """The options that JupyterHub did not recognize when it started: (option, class, hint).

    Args:
        unit: the hub's.
        since: when it started, in seconds since the epoch; more than a minute later it is silent.
    """
    window = ["--since", f"@{int(since)}", "--until", f"@{int(since) + 60}"]
    found = [match for _, line in read(unit, *window) if (match := UNKNOWN_OPTION.search(line))]
    return list(dict.fromkeys((m[1], m[2], m[3] or "") for m in found))


def read(unit, *options):
    """The last lines that a unit wrote, or systemd about it: (run, line)."""
    command = ["journalctl", "--quiet", "--no-pager", f"--lines={LINES}", f"--unit={unit}"]
    command += ["--output=json", f"--output-fields=MESSAGE,{','.join(RUN)}"]
    for entry in said([*command, *options], TIMEOUT).splitlines():
        try:
            fields = json.loads(entry)
            message = fields["MESSAGE"]
            if not isinstance(message, str):
                # It has a colour in it, or whatever else is not printed.
                message = bytes([*message]).decode(errors="replace")
        except (ValueError, TypeError, LookupError):
            continue
        run = next((str(fields[name]) for name in RUN if name in fields), None)
        yield from ((run, line) for line in COLOUR.sub("", message).splitlines())


def masked(line):
    """A line without what may be a secret: rather too much is taken away than too little."""
    line = SECRET.sub(rf"\1 {MASK}", line)
    line = USER_IN_URL.sub(rf"\1{MASK}@", line)
    return KEY.sub(lambda found: MASK if is_key(found[0]) else found[0], line)


def is_key(text):
    """Whether something long is a key, however it is written, and no word."""
    return any(map(str.isdigit, text)) and any(map(str.isalpha, text))
