"""What a unit says of itself in the journal, and what of it may be shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine import recorded
from tests.unit.remote import module

journal = module("journal")

Says = Callable[..., None]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Says:
    """Have journalctl print these lines."""

    def set_lines(*lines: str) -> None:
        monkeypatch.setattr(journal, "said", lambda *_: "\n".join(lines))

    return set_lines


def entry(message: Any, run: str = "1") -> str:
    """An entry as journalctl prints one in JSON."""
    return json.dumps({"MESSAGE": message, "_SYSTEMD_INVOCATION_ID": run})


def test_the_end_of_a_traceback_and_the_line_of_the_configuration(says: Says) -> None:
    says(recorded("hub/journal-failed"))
    path = "/opt/jupyterhub/etc/jupyterhub/jupyterhub_config.d/50-mine.py"
    assert journal.errors("x.service") == [f"{path}, line 2: ZeroDivisionError: division by zero"]


def test_only_the_last_run_counts_and_the_one_before_until_this_is_ready(says: Says) -> None:
    failed = entry("[E 2026-11-23 16:29:59.134 JupyterHub app:3917] Failed to bind hub", "1")
    started = entry("[I 2026-11-23 16:29:59.134 JupyterHub app:3493] Running JupyterHub", "2")
    says(failed, started)
    assert journal.errors("x.service") == []
    assert journal.errors("x.service", starting=True) == ["Failed to bind hub"]
    says(failed, started, entry("Something else", "3"))
    assert journal.errors("x.service", starting=True) == []
    ready = "[I 2026-11-23 16:28:32.005 JupyterHub app:3946] JupyterHub is now running, internal"
    for line in (ready, "Started jupyterhub-proxy.service - x (configurable-http-proxy)."):
        says(failed, started, entry(line, "2"))
        assert journal.errors("x.service", starting=True) == []


@pytest.mark.parametrize(
    ("line", "error"),
    [
        # What was seen in journals of demo boxes.
        (
            "[C 2026-11-23 16:28:39.428 JupyterHub application:119] Bad config encountered during "
            "initialization: The 'port' trait of a JupyterHub instance expected an int, not the "
            "str 'xyz'.",
            "Bad config encountered during initialization: The 'port' trait of a JupyterHub "
            "instance expected an int, not the str 'xyz'",
        ),
        (
            "jupyterhub.service: Failed to load environment files: No such file or directory",
            "Failed to load environment files: No such file or directory",
        ),
        (
            "jupyterhub.service: Unable to locate executable '/opt/x': No such file or directory",
            "Unable to locate executable '/opt/x': No such file or directory",
        ),
        (
            "2026-11-23T16:32:18.563Z [ConfigProxy] \x1b[31merror\x1b[39m: Uncaught Exception: "
            "listen EADDRINUSE: address already in use 127.0.0.1:20011",
            "Uncaught Exception: listen EADDRINUSE: address already in use 127.0.0.1:20011",
        ),
        (
            "    OSError: [Errno 98] Address already in use",
            "OSError: [Errno 98] Address already in use",
        ),
        ("jupyterhub.service: Failed with result 'exit-code'.", None),
        ("[E 2026-11-23 16:28:43.042 JupyterHub app:4090]", None),
        (
            "[C 2026-11-23 16:28:43.042 JupyterHub app:1] Received signal SIGTERM, initiating "
            "shutdown...",
            None,
        ),
        ("        raise KeyError(", None),
        ("Cannot open netlink socket: Address family not supported by protocol", None),
    ],
)
def test_which_lines_are_errors(says: Says, line: str, error: str | None) -> None:
    says(entry("Started"), entry(line))
    assert journal.errors("x.service") == ([error] if error else [])
    # As journalctl has what it takes for binary.
    says(entry(list(line.encode())))
    assert journal.errors("x.service") == ([error] if error else [])


def test_the_last_few_are_enough_and_none_is_long(says: Says) -> None:
    says(*(entry(f"ValueError: {number} {'x ' * 500}") for number in range(9)))
    found = journal.errors("x.service")
    assert [line[:13] for line in found] == [f"ValueError: {number}" for number in (6, 7, 8)]
    assert max(map(len, found)) <= journal.WIDTH


def test_options_that_are_not_recognized(says: Says) -> None:
    says(recorded("hub/journal-unrecognized"))
    assert journal.unknown_options("x.service", 1795452567.2) == [
        ("prot", "JupyterHub", "Did you mean `port`?"),
        ("no_such_option", "JupyterHub", ""),
    ]


def test_what_an_old_journal_has_is_not_read_through(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def said(command: list[str], timeout: float) -> str:
        asked.extend(command)
        return ""

    monkeypatch.setattr(journal, "said", said)
    journal.unknown_options("jupyterhub.service", 1795452567.2)
    assert "--unit=jupyterhub.service" in asked
    assert asked[-4:] == ["--since", "@1795452567", "--until", "@1795452627"]
    assert any(word.startswith("--lines=") for word in asked)


# --- secrets ---

HEX = "5f98896087e048e84a64fda46840c74e14963865ec0284e6593eb6b474e21b17"


@pytest.mark.parametrize(
    "line",
    [
        f"ValueError: {HEX}",
        f"ValueError: {HEX[:32]}",
        "ValueError: CONFIGPROXY_AUTH_TOKEN=hunter2",
        "ValueError: c.GenericOAuthenticator.client_secret = 'hunter2'",
        "TraitError: The 'client_secret' trait of an X expected an int, not the str 'hunter2'",
        "OperationalError: could not connect to postgresql://hub:hunter2@db.example.org/hub",
        "OSError: Password: hunter2 and some more",
        "HTTPError: Authorization: token hunter2",
        "LDAPError: bind_passphrase hunter2",
        "KeyError: b'None:fftFVlO-dnY1XP-hunter2-MMgYhSq81K6iQMpXvuMk='",
        "ValueError: api-key hunter2",
        "ValueError: AKIA/hunter2/wJalrXUtnFEMI/K7MDENG",
    ],
)
def test_what_may_be_a_secret_is_masked(says: Says, line: str) -> None:
    says(entry(line))
    [found] = journal.errors("x.service")
    assert "hunter2" not in found
    assert HEX[:16] not in found
    assert journal.MASK in found


@pytest.mark.parametrize(
    "line",
    [
        "OSError: [Errno 98] Address already in use",
        "ImportError: /opt/jupyterhub/releases/8967801b5107/lib/python3.13/site-packages/x.so: no",
        "ModuleNotFoundError: No module named 'ldapauthenticator_with_a_long_name'",
        "OSError: http://127.0.0.1:20013/hub/api/users does not answer",
    ],
)
def test_what_is_no_secret_can_be_read(says: Says, line: str) -> None:
    says(entry(line))
    assert journal.errors("x.service") == [line]


# --- garbage ---


@given(
    lines=st.lists(st.text() | st.builds(entry, st.text() | st.lists(st.integers()) | st.none()))
)
def test_garbage_is_passed_over(lines: list[str]) -> None:
    said, journal.said = journal.said, lambda *_: "\n".join(lines)
    try:
        assert isinstance(journal.errors("x.service", starting=True), list)
        assert isinstance(journal.unknown_options("x.service", 0.0), list)
    finally:
        journal.said = said


@given(token=st.from_regex(re.compile(r"[0-9a-f]{32,64}", re.ASCII), fullmatch=True))
def test_no_token_survives(token: str) -> None:
    letters_and_digits = any(map(str.isdigit, token)) and any(map(str.isalpha, token))
    assert (token not in journal.masked(f"said {token!r}")) == letters_and_digits
