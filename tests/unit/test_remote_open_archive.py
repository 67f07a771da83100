"""The program that reads an archive: all of it is checked, and what is wrong is one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.archives import ADA, GROUPS, packed, run
from tests.unit.test_remote_keep_archive import NAME, keep

needs_gpg = pytest.mark.skipif(not shutil.which("gpg"), reason="gpg encrypts")


def opened(path: Path, passphrase: str | None = None) -> Any:
    """Read an archive."""
    told: dict[str, Any] = {"path": str(path), "plain": False}
    if passphrase is None:
        return run("open_archive", passphrase=None, **told)
    file = path.with_name("passphrase")
    file.write_text(passphrase)
    with file.open("rb") as secret:
        return run("open_archive", fd=secret.fileno(), passphrase=secret.fileno(), **told)


def test_a_whole_one_says_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(packed())
    found = json.loads(opened(path).stdout)
    assert found["accounts"] == {"users": [ADA], "groups": GROUPS}
    assert found["manifest"]["hub"] == {"release": "3a94aa", "version": "5.0.0"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a backup."),
        (b"PK\3\4", "is not a backup."),
        (b"\x1f\x8b", "is damaged"),
        (packed()[:-1], "is damaged"),
        (b"\x8c\r", "is encrypted: say `--data passphrase_file=` with its passphrase in it."),
    ],
)
def test_what_is_none_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "archive"
    path.write_bytes(content)
    found = opened(path)
    assert (found.returncode, found.stdout) == (1, b"")
    assert found.stderr.decode().startswith(f"{path} {says}")
    assert found.stderr.decode().count("\n") == 1


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    found = opened(tmp_path / "none")
    assert found.stderr.decode() == f"{tmp_path / 'none'}: No such file or directory.\n"


@needs_gpg
@pytest.mark.parametrize(
    ("at", "passphrase", "says"),
    [
        (None, "another\n", "gpg says: decryption failed: Bad session key."),
        (40, "right\n", ""),
        (-30, "right\n", ""),
    ],
)
def test_another_passphrase_or_byte_opens_nothing(
    tmp_path: Path, at: int | None, passphrase: str, says: str
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("right\n")
    assert keep(tmp_path, packed(), secret).returncode == 0
    path = tmp_path / NAME
    content = bytearray(path.read_bytes())
    if at is not None:
        content[at] ^= 1
        path.write_bytes(content)
    found = opened(path, passphrase)
    assert (found.returncode, found.stdout) == (1, b"")
    assert found.stderr.decode().startswith(f"{path} cannot be decrypted: gpg says: "), says
    assert says in found.stderr.decode()
