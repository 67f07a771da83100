"""The password that sudo asks for, kept off command lines.

pyinfra writes it into each command, as `env PYINFRA_SUDO_PASSWORD=... sudo -A ...`: whoever watches
the processes of the box while it is deployed to reads it there. Here it is sent once, on standard
input, into the program that sudo asks; that lies in a directory that only its account can enter,
and pyinfra removes it when it disconnects.
"""

from __future__ import annotations

from shlex import quote
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors import local, ssh, util

PLACEHOLDER = "is in the program that sudo asks"


def keep_private() -> None:
    """Have pyinfra's connectors do so, in this process."""
    for connector in (local, ssh):
        connector.make_unix_command_for_host = command_for_host  # type: ignore[attr-defined]


def command_for_host(
    state: State, host: Host, command: StringCommand, **arguments: Any
) -> StringCommand:
    """pyinfra's own, with the password where it is not seen."""
    password = arguments.get("_sudo_password") or host.connector_data.get("prompted_sudo_password")
    if arguments.get("_sudo") and password:
        directory = arguments.get("_temp_dir") or host.get_temp_dir_config()  # type: ignore[no-untyped-call]
        # Where pyinfra looks for the program that it would make otherwise, and removes it.
        key = f"sudo_askpass_path__{directory}"
        if not host.connector_data.get(key):
            host.connector_data[key] = make_program(host, password, directory)
        arguments["_sudo_password"] = PLACEHOLDER
    return util.make_unix_command_for_host(state, host, command, **arguments)


def make_program(host: Host, password: str, directory: str) -> str:
    """Write the program that sudo asks; its path on the box.

    Raises:
        PyinfraError: it could not be written.
    """
    file = f"{quote(directory)}/pyinfra-sudo-askpass-XXXXXXXXXXXX"
    made, output = host.run_shell_command(
        StringCommand(
            f"umask 077 && mkdir -p {quote(directory)}",
            # A run that was killed left its program there, with the password in it.
            f"&& find {quote(directory)} -name 'pyinfra-sudo-askpass-*' -mmin +60 -delete",
            f"&& file=$(mktemp {file})",
            # sudo-rs, Ubuntu's since 25.10, wants the whole path.
            '&& cat > "$file" && chmod 700 "$file" && realpath "$file"',
        ),
        # printf is a part of the shell, not a process with arguments of its own.
        _stdin=f"#!/bin/sh\nprintf '%s\\n' {quote(password)}",
    )
    if not made or not output.stdout_lines:
        raise PyinfraError(f"{directory} on {host.name} could not be written to: {output.stderr}")
    return output.stdout_lines[-1]
