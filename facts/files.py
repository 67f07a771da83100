"""Files, directories and links of the box: what lies at some paths."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict


class Entry(TypedDict):
    """What lies at a path: its kind, as stat names it, mode, owner and content."""

    kind: str
    mode: str
    owner: str
    sha256: str | None
    target: str | None


class Entries(FactBase[dict[str, Entry | None]]):
    """What lies at each of some paths; None where nothing does, or nothing that may be seen.

    ```
    {"/etc/profile.d/conda.sh": {"kind": "symbolic link", "mode": "777", "owner": "root:root",
     "sha256": None, "target": "/opt/conda/etc/profile.d/conda.sh"}}
    ```

    Args:
        paths: absolute paths; a link is not followed.
    """

    def command(self, paths: Sequence[str] = ()) -> str:
        # A line each, whatever a target's name holds.
        return (
            f'for path in {" ".join(map(shlex.quote, paths))}; do echo "$path"; '
            "stat -c '%a %U:%G %F' \"$path\" 2>/dev/null || echo -; "
            'if [ -L "$path" ]; then readlink "$path" | tr "\\n" "?"; echo; '
            'elif [ -f "$path" ]; then sha256sum < "$path" 2>/dev/null || echo -; '
            "else echo -; fi; done"
        )

    @staticmethod
    def default() -> dict[str, Entry | None]:
        return {}

    def process(self, output: list[str]) -> dict[str, Entry | None]:
        if len(output) % 3:
            raise FactProcessError(f"three lines a path were expected: {output!r}")
        lines = iter(output)
        groups = zip(*[lines] * 3, strict=True)
        return {path: entry(about, content) for path, about, content in groups}


def entry(about: str, content: str) -> Entry | None:
    """Read what stat says, and a file's hash or a link's target."""
    if about == "-":
        return None
    try:
        mode, owner, kind = about.split(" ", 2)
    except ValueError:
        raise FactProcessError(f"stat says {about!r}") from None
    is_link = kind == "symbolic link"
    known = None if content in ("-", "?") else content
    return {
        "kind": kind,
        "mode": mode,
        "owner": owner,
        "sha256": known.partition(" ")[0] if known and not is_link else None,
        "target": known.removesuffix("?") if known and is_link else None,
    }
