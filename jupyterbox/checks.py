"""What settings are checked with: their base class, its messages, and the types of their values."""

from __future__ import annotations

import ast
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from pyinfra.api.exceptions import PyinfraError

SECRETS = {"password_hash", "extra_config"}
"""Settings whose values no message repeats: free-form configuration may hold an OAuth secret."""


class SettingsError(PyinfraError):
    """A setting with a value that is not allowed; the message is whole sentences, one a line."""


def _sentence(model: str, error: ErrorDetails, settings: list[str]) -> str:
    *parents, last = [str(part) for part in error["loc"] if part != "[key]"] or [""]
    field = ".".join(filter(None, [model, *parents, last]))
    if error["type"] == "extra_forbidden":
        return f"{model} has no setting {last!r}: it has {', '.join(settings)}."
    if error["type"] == "missing":
        return f"{field} is not set: it is needed."
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "path_type":
        message = "a path is a text or a Path"
    value = error["input"]
    if last in SECRETS:
        return f"{field} is not allowed: {message[0].lower()}{message[1:]}."
    if not last or not isinstance(value, str | int | float | Path | None):
        return f"{field}: {message}."
    shown = repr(str(value) if isinstance(value, Path) else value)
    shown = re.sub(r"//.*@", "//***@", shown)
    return f"{field} is {shown}: {message[0].lower()}{message[1:]}."


class Setting(BaseModel):
    """A group of settings: unknown names are refused, values do not change once checked.

    Raises:
        SettingsError: for a name or a value that is not allowed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def __init__(self, /, **data: Any) -> None:
        name, known = type(self).__name__, list(type(self).model_fields)
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise SettingsError(
                "\n".join(_sentence(name, detail, known) for detail in error.errors())
            ) from None
        except TypeError as error:
            if "keywords must be strings" not in str(error):
                raise
            # A group of settings that is given as a dictionary inside this one.
            raise SettingsError(f"{name}: the name of a setting is a text.") from None


def _check_url(url: str) -> str:
    if re.match(r"[a-z]+://[^/]*@", url):
        # It would stand in process lists and in files that every user reads.
        raise ValueError("a URL carries no user and password")
    host = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?"
    if not re.fullmatch(rf"(https?://{host}|file://)(/[!#-&(-;=?-\[\]_a-z~]*)?", url):
        raise ValueError(
            "a URL begins with http://HOST, https://HOST or file:///, and has no spaces or quotes"
        )
    return url.rstrip("/")


def _check_channel(channel: str) -> str:
    if "://" in channel:
        return _check_url(channel)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", channel):
        raise ValueError("a channel is a name (letters, digits and . _ - /) or a URL")
    return channel


def _check_absolute_path(path: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._+-]+)+", path) or {".", ".."} & {*path.split("/")}:
        raise ValueError("a path begins with / and has letters, digits and . _ + - between them")
    return path


def _check_address(address: str) -> str:
    try:
        # The name of an interface behind % is for the machine that it was written on.
        if not getattr(ipaddress.ip_address(address), "scope_id", None):
            return address
    except ValueError:
        pass
    raise ValueError("an address is numbers: 0.0.0.0, ::1")


def _check_python(source: str) -> str:
    try:
        ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"it is not Python: {error.msg} in line {error.lineno}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"it is not Python: {error or 'nested too deep'}") from None
    return source


def matching(pattern: str, words: str) -> AfterValidator:
    """Check against a pattern, and say what is allowed in words."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(words)
        return value

    return AfterValidator(check)


Url = Annotated[str, AfterValidator(_check_url)]
PythonSource = Annotated[str, AfterValidator(_check_python)]
Address = Annotated[str, AfterValidator(_check_address)]
Channel = Annotated[str, AfterValidator(_check_channel)]
AbsolutePath = Annotated[str, AfterValidator(_check_absolute_path)]
Port = Annotated[int, Field(ge=1, le=65535)]
Sha256 = Annotated[str, matching(r"[0-9a-f]{64}", "a sha256 is 64 digits and letters a to f")]
# What adduser(8) accepts: these names end up in unit names and paths.
AccountName = Annotated[
    str,
    matching(
        r"[a-z_][a-z0-9_-]{0,31}",
        "a name has lower-case letters, digits, _ and -, and begins with a letter or _",
    ),
]
# Who is named to log in may be of a directory service, with names of its own making.
SiteName = Annotated[
    str, matching(r"[^\x00-\x1f:/]{1,256}", "a name of a user or group has no : and no / in it")
]
# Also a directory under envs/ and a kernelspec, whose names jupyter_client restricts to these.
EnvironmentName = Annotated[
    str,
    matching(
        r"[a-z0-9][a-z0-9._-]{0,63}",
        "an environment has a name, not a path: lower-case letters, digits and . _ -, and it "
        "begins with a letter or a digit",
    ),
]
# An option in place of a package name would be obeyed by conda or uv.
PackageSpec = Annotated[
    str,
    matching(
        r"[^-\s\x00-\x1f][^\x00-\x1f]*", "a package begins with its name, not with - or space"
    ),
    # It would stand in process lists and in release.json, which every user reads.
    matching(r"(?!.*//[^/\s]*@).*", "a URL carries no user and password"),
]
AptPackage = Annotated[
    str,
    matching(
        r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?",
        "a package of the system is a name, or name=version",
    ),
]
VariableName = Annotated[
    str,
    matching(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name has letters, digits and _"),
]
