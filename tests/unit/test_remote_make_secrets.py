"""The program that makes the hub's secrets: once, and for root alone."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from tests.unit.remote import call

BOTH = ["proxy.env", "cookie_secret"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_made_for_root_alone_and_never_shown(tmp_path: Path) -> None:
    done = call("make_secrets", directory=str(tmp_path), names=BOTH)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    token, cookie = (tmp_path / name for name in BOTH)
    assert re.fullmatch(r"CONFIGPROXY_AUTH_TOKEN=[0-9a-f]{64}\n", token.read_text())
    # JupyterHub refuses a cookie secret that is not 32 bytes in hex.
    assert re.fullmatch(r"[0-9a-f]{64}\n", cookie.read_text())
    assert mode(token) == mode(cookie) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(BOTH)


def test_every_box_has_its_own(tmp_path: Path) -> None:
    texts = set()
    for box in ("one", "two"):
        (tmp_path / box).mkdir()
        call("make_secrets", directory=str(tmp_path / box), names=BOTH)
        texts |= {(tmp_path / box / name).read_text()[-65:] for name in BOTH}
    assert len(texts) == 4


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    call("make_secrets", directory=str(tmp_path), names=BOTH)
    before = {path: (path.read_text(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    call("make_secrets", directory=str(tmp_path), names=BOTH)
    assert before == {p: (p.read_text(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}


def test_one_that_was_open_to_others_is_closed_and_stays_the_same(tmp_path: Path) -> None:
    cookie = tmp_path / "cookie_secret"
    cookie.write_text("everybody is logged in with this\n")
    cookie.chmod(0o644)
    call("make_secrets", directory=str(tmp_path), names=["cookie_secret"])
    assert mode(cookie) == 0o600
    assert cookie.read_text() == "everybody is logged in with this\n"
    assert not (tmp_path / "proxy.env").exists()


def test_what_an_interrupted_run_left_is_replaced(tmp_path: Path) -> None:
    left = tmp_path / ".cookie_secret.new"
    left.write_text("half")
    left.chmod(0o644)
    call("make_secrets", directory=str(tmp_path), names=["cookie_secret"])
    assert not left.exists()
    assert mode(tmp_path / "cookie_secret") == 0o600
    assert (tmp_path / "cookie_secret").read_text() != "half"
