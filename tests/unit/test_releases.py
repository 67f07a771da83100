"""What is removed of releases."""

from __future__ import annotations

from operations.releases import prune
from tests.unit.engine import show


def test_what_is_removed_is_named_without_its_directory() -> None:
    """Whoever looks for processes that name a release does not find this one."""
    command = show(prune("/opt/x/releases", "/opt/x/current", ["a"], beside=["/var/db.{}"]))
    assert command == (
        "prune",
        {
            "directory": "/opt/x/releases",
            "link": "/opt/x/current",
            "names": ["a"],
            "beside": ["/var/db.{}"],
        },
    )
