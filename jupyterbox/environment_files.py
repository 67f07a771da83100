"""The two files that say what a conda environment holds: environment.yml and an @EXPLICIT lock."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("it cannot be read: it is not text") from None


def read_environment_file(path: Path) -> dict[str, Any]:
    """Read an environment.yml as settings of an `Environment`.

    Args:
        path: the file, on this machine.

    Raises:
        ValueError: when it cannot be read or says something that an environment here has not.
    """
    try:
        return _environment_settings(yaml.safe_load(_text(path)))
    except (yaml.YAMLError, RecursionError):
        raise ValueError(f"file {str(path)!r}: it is not YAML") from None
    except ValueError as error:
        raise ValueError(f"file {str(path)!r}: {error}") from None


def _environment_settings(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or not isinstance(content.get("dependencies"), list):
        raise ValueError("it has no list of dependencies")
    unknown = content.keys() - {"name", "prefix", "channels", "dependencies", "variables"}
    if unknown:
        raise ValueError(f"it says {', '.join(sorted(map(str, unknown)))}, which is not read")
    channels, variables = content.get("channels") or [], content.get("variables") or {}
    if not isinstance(channels, list) or not isinstance(variables, dict):
        raise ValueError("its channels are a list, and its variables NAME: VALUE pairs")
    conda = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    nested = [entry for entry in content["dependencies"] if not isinstance(entry, str)]
    for entry in nested:
        if not isinstance(entry, dict) or entry.keys() != {"pip"}:
            raise ValueError("a dependency is a package, or a list of packages under pip")
        if not isinstance(entry["pip"], list | None):
            raise ValueError("what stands under pip is a list of packages")
    return {
        "conda": conda,
        "pip": [spec for entry in nested for spec in entry["pip"] or []],
        "channels": [name for name in channels if name != "nodefaults"] or None,
        "variables": {str(key): str(value) for key, value in variables.items()},
    }


class Lock(NamedTuple):
    """What a lock names: conda's packages as URL#HASH, and lines of requirements for pip's."""

    conda: list[str]
    pip: list[str]


# Behind /t/ a channel's URL has a token; that of a source may have a package's initial there.
LOCKED_BY_CONDA = re.compile(r"(https?|file)://(?![^/\s]*@)(?!\S*/t/)\S+#(sha256:)?[0-9a-f]{32,64}")
LOCKED_BY_PIP = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]* ?(==[A-Za-z0-9.!+_-]+|@ https?://(?![^/\s]*@)\S+)"
    r"( --hash=sha256:[0-9a-f]{64})+"
)


def read_lock(path: Path) -> Lock:
    """Read an @EXPLICIT file: conda's packages, and behind `# pip`, which conda skips, pip's.

    Args:
        path: the file, on this machine.

    Raises:
        ValueError: when it cannot be read or is none.
    """
    return parsed_lock(_text(path))


def parsed_lock(text: str) -> Lock:
    """The same, of the text of a lock.

    Raises:
        ValueError: when it is none.
    """
    lines = [line.strip() for line in text.splitlines()]
    urls = [line for line in lines if line and not line.startswith(("#", "@"))]
    if "@EXPLICIT" not in lines or not urls:
        raise ValueError("a lock has a line @EXPLICIT and package URLs below it")
    pip = [line.removeprefix("# pip ").strip() for line in lines if line.startswith("# pip ")]
    _refuse_other("URL#HASH", LOCKED_BY_CONDA, urls)
    _refuse_other("# pip NAME==VERSION --hash=sha256:HASH", LOCKED_BY_PIP, pip)
    return Lock(urls, pip)


def _refuse_other(form: str, pattern: re.Pattern[str], lines: list[str]) -> None:
    for line in lines:
        if not pattern.fullmatch(line):
            raise ValueError(
                f"a line of a lock is {form}, and this one is not: {without_secrets(line)}"
            )


def without_password(text: str) -> str:
    """A text with asterisks in the place of the passwords in its URLs."""
    return re.sub(r"//[^/\s]*@", "//***@", text)


def without_secrets(text: str) -> str:
    """The same, and in the place of the tokens that URLs of conda's channels have."""
    return re.sub(r"/t/[^/\s]+", "/t/***", without_password(text))
