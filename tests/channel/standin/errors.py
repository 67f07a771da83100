"""The errors that real conda reports, by its names and in its shapes."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any


class CondaError(Exception):
    """One of conda's errors."""

    def __init__(
        self,
        name: str,
        message: str,
        *,
        exit_code: int = 1,
        module: str = "conda.exceptions",
        caused_by: str = "None",
        **details: Any,
    ) -> None:
        """Describe the error.

        Args:
            name: conda's name of the exception class.
            message: its text.
            exit_code: what the command exits with.
            module: where conda's class lives.
            caused_by: the text of what was behind it.
            details: the further keys of its JSON.
        """
        super().__init__(message)
        self.name = name
        self.message = message
        self.exit_code = exit_code
        self.module = module
        self.caused_by = caused_by
        self.details = details

    def as_json(self) -> dict[str, Any]:
        """The object that --json prints."""
        return {
            "caused_by": self.caused_by,
            "error": f"{self.name}: {self.message}",
            "exception_name": self.name,
            "exception_type": f"<class '{self.module}.{self.name}'>",
            "message": self.message,
            **self.details,
        }

    def as_text(self) -> str:
        """What goes to stderr without --json."""
        return f"\n{self.name}: {self.message}\n\n"


class CondaMultiError(CondaError):
    """Several errors at once; its JSON has no message of its own."""

    def __init__(self, errors: Sequence[CondaError]) -> None:
        """Gather the errors."""
        super().__init__(
            "CondaMultiError", "".join(error.as_text() for error in errors), module="conda"
        )
        self.errors = errors

    def as_json(self) -> dict[str, Any]:
        """The object that --json prints."""
        return {
            "error": "Multiple Errors Encountered.",
            "errors": [error.as_json() for error in self.errors],
            "exception_name": self.name,
            "exception_type": "<class 'conda.CondaMultiError'>",
        }

    def as_text(self) -> str:
        """What goes to stderr without --json."""
        return "".join(error.as_text() for error in self.errors)


class InvalidMatchSpec(CondaError):
    """A malformed spec. Real conda cannot put this one into JSON and dies with a traceback."""

    def __init__(self, spec: str, why: str) -> None:
        """Name the spec and what is wrong with it."""
        super().__init__("InvalidMatchSpec", f"Invalid spec '{spec}': {why}")

    def crash(self) -> str:
        """The traceback that real conda prints under --json (and nothing on stdout)."""
        text = "".join(traceback.format_exception(self))
        return text + "TypeError: Object of type InvalidVersionSpec is not JSON serializable\n"


def exiting() -> CondaError:
    """The user said no (or stdin ended): exit code 0, nothing done."""
    return CondaError("CondaSystemExit", "Exiting.\n", exit_code=0, module="conda")


def value_error(message: str) -> CondaError:
    """A value that conda refuses."""
    return CondaError("CondaValueError", message)


def argument_error(message: str) -> CondaError:
    """Arguments that do not go together."""
    return CondaError("ArgumentError", message, exit_code=2)


def not_an_environment(prefix: str) -> CondaError:
    """There is nothing at the prefix."""
    return CondaError(
        "EnvironmentLocationNotFound", f"Not a conda environment: {prefix}", location=prefix
    )


def directory_not_an_environment(prefix: str) -> CondaError:
    """There is something at the prefix, but no environment."""
    return CondaError(
        "DirectoryNotACondaEnvironmentError",
        "The target directory exists, but it is not a conda environment.\n"
        "Use 'conda create' to convert the directory to a conda environment.\n"
        f"  target directory: {prefix}\n",
        target_directory=prefix,
    )


def name_not_found(name: str) -> CondaError:
    """No environment has the name."""
    return CondaError(
        "EnvironmentNameNotFound",
        f"Could not find conda environment: {name}\n"
        "You can list all discoverable environments with `conda info --envs`.\n",
        environment_name=name,
    )


def not_writable(prefix: str, uid: int, gid: int) -> CondaError:
    """The environment belongs to somebody else."""
    return CondaError(
        "EnvironmentNotWritableError",
        "The current user does not have write permissions to the target environment.\n"
        f"  environment location: {prefix}\n  uid: {uid}\n  gid: {gid}\n",
        environment_location=prefix,
        uid=uid,
        gid=gid,
    )


def frozen(prefix: str) -> CondaError:
    """The environment is marked as not to be changed."""
    return CondaError(
        "EnvironmentIsFrozenError",
        f"Cannot modify '{prefix}'. The environment is marked as frozen. You can bypass these"
        " protections with the `--override-frozen` flag, at your own risk.",
    )


def packages_not_found(
    packages: Sequence[str], urls: Sequence[str], channels: Sequence[dict[str, Any]]
) -> CondaError:
    """No channel has anything for a spec.

    Args:
        packages: the specs as they were asked for.
        urls: the channels' addresses.
        channels: the channels as objects.
    """
    packages_formatted = "".join(f"\n  - {package}" for package in packages)
    channels_formatted = "".join(f"\n  - {url}" for url in urls)
    return CondaError(
        "PackagesNotFoundInChannelsError",
        "The following packages are not available from current channels:\n"
        f"{packages_formatted}\n\nCurrent channels:\n{channels_formatted}\n\n"
        "To search for alternate channels that may provide the conda package you're\n"
        "looking for, navigate to\n\n    https://anaconda.org\n\n"
        "and use the search bar at the top of the page.\n",
        packages=list(packages),
        packages_formatted=packages_formatted,
        channels_formatted=channels_formatted,
        channel_urls=list(channels),
    )


def packages_not_in_prefix(packages: Sequence[str], prefix: str) -> CondaError:
    """What shall be removed is not there."""
    packages_formatted = "".join(f"\n  - {package}" for package in packages)
    return CondaError(
        "PackagesNotFoundInPrefixError",
        "The following packages are missing from the target environment:\n"
        f"  prefix: {prefix}\n{packages_formatted}\n",
        prefix=prefix,
        package_name=list(packages),
        packages_formatted=packages_formatted,
    )


def unsatisfiable(explanation: str) -> CondaError:
    """The solver found no solution."""
    return CondaError(
        "RattlerUnsatisfiableError",
        explanation,
        module="conda_rattler_solver.exceptions",
        allow_retry=False,
    )


def no_channels(packages: Sequence[str]) -> CondaError:
    """There is neither -c nor a configured channel."""
    names = " ".join(packages)
    docs = "https://docs.conda.io/projects/conda/en/stable/user-guide"
    return CondaError(
        "NoChannelsConfiguredError",
        "No channels are configured. Conda requires at least one channel to search for packages."
        f"\n\nYou have attempted to install: {names}\n\n"
        "To fix this issue, you may do one of the following:\n\n"
        "  1. Add a channel for this command:\n"
        f"     conda install -c <your-channel> {names}\n\n"
        "  2. Configure channels permanently:\n"
        "     conda config --append channels <your-channel>\n\n"
        "  3. Create or modify your .condarc file to include channels.\n\n"
        f"For more information, visit: {docs}/configuration/use-condarc.html"
        "#channel-locations-channels\n"
        f"and {docs}/concepts/channels.html#specifying-channels-when-installing-packages\n",
        packages=list(packages),
        packages_str=names,
    )


def http_error(url: str, status: int | None, reason: str, caused_by: str) -> CondaError:
    """An address cannot be read.

    Args:
        url: the address.
        status: the server's answer, None if there was none.
        reason: its words.
        caused_by: the error behind it.
    """
    code = "000" if status is None else str(status)
    shown = url.rsplit("/", 1)[0].replace("://", "//")
    return CondaError(
        "CondaHTTPError",
        f"HTTP {code} {reason} for url <{url}>\nElapsed: -\n\n"
        "An HTTP error occurred when trying to retrieve this URL.\n"
        "HTTP errors are often intermittent, and a simple retry will get you on your way.\n"
        f"'{shown}'\n",
        caused_by=caused_by,
        elapsed_time="-",
        json={},
        reason=reason,
        response_details="",
        status_code="000" if status is None else status,
        url=url,
    )


def invalid_channel(name: str, url: str, status: int, reason: str) -> CondaError:
    """The server knows no such channel."""
    return CondaError(
        "UnavailableInvalidChannel",
        f"HTTP {status} {reason} for channel {name} <{url}>\n\n"
        "The channel is not accessible or is invalid.\n\n"
        "You will need to adjust your conda configuration to proceed.\n"
        "Use `conda config --show channels` to view your configuration's current state,\n"
        "and use `conda config --show-sources` to view config file locations.\n",
        channel_name=name,
        channel_url=url,
        json={},
        reason=reason,
        response_details="",
        status_code=status,
    )


def checksum_mismatch(url: str, target: str, kind: str, expected: str, actual: str) -> CondaError:
    """A downloaded package is not the one that was asked for."""
    return CondaError(
        "ChecksumMismatchError",
        "Conda detected a mismatch between the expected content and downloaded content\n"
        f"for url '{url}'.\n  download saved to: {target}\n"
        f"  expected {kind}: {expected}\n  actual {kind}: {actual}\n",
        url=url,
        target_full_path=target,
        checksum_type=kind,
        expected_checksum=expected,
        actual_checksum=actual,
        partial_download=False,
    )
