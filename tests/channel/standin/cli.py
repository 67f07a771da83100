"""The command line of the stand-in conda."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from . import CONDA_VERSION, activation, environment, envs, errors, listing, output, packages
from .context import Context

_Command = Callable[[argparse.Namespace, Context], int]


class _Parser(argparse.ArgumentParser):
    """Reports usage errors under the name of the whole command, as conda does."""

    def error(self, message: str) -> NoReturn:
        """Print the top command's usage and leave with 2."""
        sys.stderr.write("usage: conda [-h] [-v] [--no-plugins] [-V] COMMAND ...\n")
        sys.stderr.write(f"conda: error: {message}\n")
        raise SystemExit(2)


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="Report all output as json.")
    parser.add_argument("--console", help=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbose", action="count", help=argparse.SUPPRESS)
    parser.add_argument("-q", "--quiet", action="store_true", help="Do not display progress bars.")


def _change_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="Do not ask for confirmation.")
    parser.add_argument("-d", "--dry-run", action="store_true", help="Only display what would be.")


def _target_options(parser: argparse.ArgumentParser) -> None:
    target = parser.add_mutually_exclusive_group()
    target.add_argument("-n", "--name", metavar="ENVIRONMENT", help="Name of environment.")
    target.add_argument("-p", "--prefix", metavar="PATH", help="Full path to environment.")


def _channel_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--channel", action="append", default=[], help="A further channel.")
    parser.add_argument("-O", "--override-channels", action="store_true")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--solver", choices=["classic", "rattler"])
    parser.add_argument("--strict-channel-priority", action="store_true")
    parser.add_argument("--repodata-fn", action="append", help=argparse.SUPPRESS)


def _spec_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("packages", nargs="*", metavar="package_spec")
    parser.add_argument("-f", "--file", action="append", default=[], help="Read specs from a file.")
    parser.add_argument("--copy", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--no-default-packages", action="store_true", help=argparse.SUPPRESS)


def _add(
    commands: argparse._SubParsersAction[_Parser],
    names: Sequence[str],
    function: _Command,
    *options: Callable[[argparse.ArgumentParser], None],
) -> argparse.ArgumentParser:
    parser = commands.add_parser(names[0], aliases=list(names[1:]))
    for option in (_output_options, *options):
        option(parser)
    parser.set_defaults(function=function)
    return parser


def _install_parsers(commands: argparse._SubParsersAction[_Parser]) -> None:
    common = (_change_options, _target_options, _channel_options)
    create = _add(commands, ["create"], packages.create, *common, _spec_options)
    create.add_argument("--clone", metavar="ENV")
    install = _add(commands, ["install"], packages.install, *common, _spec_options)
    update = _add(commands, ["update", "upgrade"], packages.install, *common, _spec_options)
    for parser in (install, update):
        parser.add_argument("--override-frozen", action="store_true")
        parser.add_argument("--force-reinstall", action="store_true")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("-S", "--satisfied-skip-solve", action="store_true")
        how.add_argument("--freeze-installed", "--no-update-deps", action="store_true")
        how.add_argument("--update-deps", action="store_true")
        how.add_argument("--update-all", "--all", action="store_true")
    remove = _add(commands, ["remove", "uninstall"], packages.remove, *common)
    remove.add_argument("packages", nargs="*", metavar="package_name")
    remove.add_argument("--all", action="store_true")
    remove.add_argument("--override-frozen", action="store_true")


def _env_parsers(commands: argparse._SubParsersAction[_Parser]) -> None:
    env = commands.add_parser("env")
    inner = env.add_subparsers(dest="env_command", metavar="COMMAND", required=True)
    _add(inner, ["list"], listing.env_list)
    create = _add(inner, ["create"], environment.env_create, _change_options, _target_options)
    create.add_argument("-f", "--file")
    create.add_argument("--offline", action="store_true")
    _add(inner, ["remove"], environment.env_remove, _change_options, _target_options)
    export = _add(inner, ["export"], listing.env_export, _target_options)
    export.add_argument("--from-history", action="store_true")


def _look_parsers(commands: argparse._SubParsersAction[_Parser]) -> None:
    info = _add(commands, ["info"], listing.info)
    info.add_argument("-e", "--envs", action="store_true")
    info.add_argument("--base", action="store_true")
    shown = _add(commands, ["list"], listing.list_packages, _target_options)
    shown.add_argument("regex", nargs="?")
    shown.add_argument("-f", "--full-name", action="store_true")
    shown.add_argument("--explicit", action="store_true")
    shown.add_argument("--md5", action="store_true")
    shown.add_argument("--sha256", action="store_true")
    export = _add(commands, ["export"], listing.env_export, _target_options)
    export.add_argument("--from-history", action="store_true")


def _other_parsers(commands: argparse._SubParsersAction[_Parser]) -> None:
    run = _add(commands, ["run"], environment.run, _target_options)
    run.add_argument("--no-capture-output", "--live-stream", action="store_true")
    run.add_argument("--cwd")
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    config = _add(commands, ["config"], environment.config)
    config.add_argument("--system", action="store_true")
    config.add_argument("--env", action="store_true")
    config.add_argument("--file")
    config.add_argument("--show", nargs="*")
    config.add_argument("--show-sources", action="store_true")
    for option in ("--add", "--append", "--prepend", "--remove", "--set"):
        config.add_argument(option, nargs=2, action="append")
    config.add_argument("--remove-key", action="append")
    clean = _add(commands, ["clean"], environment.clean, _change_options)
    for short, option in (("-a", "all"), ("-i", "index-cache"), ("-t", "tarballs")):
        clean.add_argument(short, f"--{option}", action="store_true")
    clean.add_argument("-p", "--packages", action="store_true")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="conda")
    parser.add_argument("-V", "--version", action="version", version=f"conda {CONDA_VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    _install_parsers(commands)
    _env_parsers(commands)
    _look_parsers(commands)
    _other_parsers(commands)
    return parser


def _shell(arguments: Sequence[str], context: Context) -> int:
    """`conda shell.posix activate|deactivate|reactivate`: lines for the shell function to eval."""
    verb, *rest = arguments
    if verb == "deactivate":
        print(activation.deactivate(context, os.environ))
        return 0
    wanted = next((word for word in rest if not word.startswith("-")), None)
    if verb == "reactivate":
        prefix = os.environ.get("CONDA_PREFIX")
    elif wanted and "/" in wanted:
        prefix = envs.existing(context, None, wanted)
    else:
        prefix = envs.existing(context, wanted or "base", None)
    if prefix:
        print(activation.activate(context, prefix, os.environ))
    return 0


def _shell_function_missing(verb: str) -> errors.CondaError:
    return errors.CondaError(
        "CondaError", f"Run 'conda init' before 'conda {verb}'", module="conda"
    )


def _apply(args: argparse.Namespace, context: Context) -> None:
    """Let the command line's options override the settings."""
    context.json = context.json or args.json
    context.quiet = args.quiet
    context.yes = context.yes or getattr(args, "yes", False)
    context.dry_run = getattr(args, "dry_run", False)
    context.offline = context.offline or getattr(args, "offline", False)
    context.cli_channels = list(getattr(args, "channel", []))
    context.override_channels = getattr(args, "override_channels", False)
    solver = args.__dict__.get("solver") or context.setting("solver", "rattler")
    if solver not in ("classic", "rattler"):
        raise errors.value_error(
            f"You have chosen a non-default solver backend ({solver}) but it was not recognized."
            " Choose one of: classic, rattler"
        )


def _dispatch(arguments: Sequence[str], context: Context) -> int:
    if arguments and arguments[0].startswith("shell."):
        return _shell(arguments[1:], context)
    if arguments and arguments[0] in ("activate", "deactivate"):
        raise _shell_function_missing(arguments[0])
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.command is None:
        parser.print_help()
        return 0
    _apply(args, context)
    function: _Command = args.function
    return function(args, context)


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    # SIGTERM becomes the exception that SIGINT is already: what was begun is taken back.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = 1
    try:
        code = _main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
    # Without the interpreter's own end: rattler's threads may still be letting go of the solver's
    # objects then, and Python aborts ("PyGILState_Release: thread state ... must be current").
    os._exit(code)


def _main() -> int:
    arguments = sys.argv[1:]
    context = Context.load()
    context.json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    try:
        return _dispatch(arguments, context)
    except errors.CondaError as error:
        output.print_error(error, context.json)
        return error.exit_code
    except KeyboardInterrupt:
        output.print_error(
            errors.CondaError("CondaError", "KeyboardInterrupt", module="conda"), context.json
        )
        return 1
