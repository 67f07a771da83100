"""env create, env remove, run, config and clean."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import yaml

from . import activation, envs, errors, fetch, output, packages
from .context import Context, read_rc
from .records import dist, installed, is_environment
from .solver import solve
from .transaction import Transaction, remove_tree


def _read_yaml(name: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(name).read_text())
    except OSError as error:
        raise errors.CondaError(
            "EnvironmentFileNotFound", f"'{name}' file not found", filename=name
        ) from error
    return content if isinstance(content, dict) else {}


def env_create(args: Namespace, context: Context) -> int:
    """`conda env create -f environment.yml`. Like conda it rebuilds what exists, unasked."""
    described = _read_yaml(args.file or "environment.yml")
    name = args.name or (None if args.prefix else described.get("name"))
    prefix = envs.target(context, name, args.prefix)
    if prefix is None:
        raise errors.value_error("Environment file has no name and neither -n nor -p was given")
    context.cli_channels = [str(channel) for channel in described.get("channels") or []]
    dependencies = described.get("dependencies") or []
    specs = [item for item in dependencies if isinstance(item, str)]
    pip = [line for item in dependencies if isinstance(item, dict) for line in item.get("pip", [])]
    if is_environment(prefix) and not context.dry_run:
        envs.check_changeable(prefix)
        remove_tree(prefix)
    change = solve(prefix, specs, {}, context)
    to_fetch = fetch.to_fetch(change.link, context)
    result = output.actions(context, prefix, change, to_fetch)
    if not context.dry_run:
        Transaction(prefix, change, specs).execute(context)
        if pip:
            _pip_install(prefix, pip)
            result["actions"]["PIP"] = pip
        output.progress(context, linked=True)
        output.activation_hint(context, name or prefix)
    if context.json:
        output.print_json(result)
    return 0


def _pip_install(prefix: str, requirements: list[str]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".requirements.txt") as file:
        file.write("\n".join(requirements) + "\n")
        file.flush()
        done = subprocess.run(
            [f"{prefix}/bin/python", "-m", "pip", "install", "-U", "-r", file.name],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise errors.CondaError("CondaEnvException", f"Pip failed\n{done.stderr}")


def env_remove(args: Namespace, context: Context) -> int:
    """`conda env remove`."""
    return packages.remove_all(args, context, envs.existing(context, args.name, args.prefix))


def run(args: Namespace, context: Context) -> int:
    """`conda run`."""
    prefix = envs.existing(context, args.name, args.prefix)
    script = activation.activate(context, prefix, os.environ, prompt=False)
    command = shlex.join(args.arguments)
    done = subprocess.run(["bash", "-c", f"{script}\n{command}"], cwd=args.cwd, check=False)
    if done.returncode != 0:
        shown = " ".join(args.arguments)
        print(
            f"ERROR conda.cli.main_run:execute(148): `conda run {shown}` failed."
            " (See above for error)",
            file=sys.stderr,
        )
    return done.returncode


def _rc_file(args: Namespace, context: Context) -> Path:
    if args.file:
        return Path(args.file)
    if args.system:
        return context.root / ".condarc"
    if args.env:
        return Path(os.environ.get("CONDA_PREFIX", str(context.root))) / ".condarc"
    return context.home / ".condarc"


def _shown_settings(context: Context) -> dict[str, Any]:
    return {
        "channel_alias": context.channel_alias,
        "channel_priority": context.setting("channel_priority", "flexible"),
        "channels": [name for name in context.settings("channels")],
        "envs_dirs": [str(folder) for folder in context.envs_dirs],
        "pkgs_dirs": [str(folder) for folder in context.pkgs_dirs],
        "register_envs": context.register_envs,
        "remote_max_retries": context.retries,
        "solver": "rattler",
        "ssl_verify": context.ssl_verify,
    }


def config(args: Namespace, context: Context) -> int:
    """`conda config`: show the settings or change a condarc file."""
    if args.show is not None:
        shown = _shown_settings(context)
        unknown = [name for name in args.show if name not in shown]
        if unknown:
            raise errors.argument_error(f"Invalid configuration parameters: \n  - {unknown[0]}\n")
        chosen = {name: shown[name] for name in (sorted(args.show) or shown)}
        if context.json:
            output.print_json(chosen)
        else:
            print(yaml.safe_dump(chosen, sort_keys=False), end="")
        return 0
    if args.show_sources:
        if context.json:
            output.print_json({**context.sources, "cmd_line": {"json": True}})
        else:
            for path, content in context.sources.items():
                print(f"==> {path} <==\n{yaml.safe_dump(content, sort_keys=False)}")
        return 0
    return _change_config(args, context)


def _change_config(args: Namespace, context: Context) -> int:
    path = _rc_file(args, context)
    content = read_rc(path)
    warnings: list[str] = []
    for option, place in (("add", "top"), ("prepend", "top"), ("append", "bottom")):
        for key, value in getattr(args, option) or []:
            values = list(content.get(key) or [])
            if value in values:
                warnings.append(
                    f"Warning: '{value}' already in '{key}' list, moving to the {place}"
                )
                values.remove(value)
            values.insert(0 if place == "top" else len(values), value)
            content[key] = values
    for key, value in args.remove or []:
        if value not in (content.get(key) or []):
            message = f"'{key}': value '{value}' not present in config"
            raise errors.CondaError("CondaKeyError", message, key=key, msg=message)
        content[key] = [one for one in content[key] if one != value]
    for key, value in args.set or []:
        content[key] = yaml.safe_load(value)
    for key in args.remove_key or []:
        if content.pop(key, None) is None:
            message = f"'{key}': undefined in config"
            raise errors.CondaError("CondaKeyError", message, key=key, msg=message)
    path.write_text(yaml.safe_dump(content, sort_keys=False) if content else "")
    if context.json:
        output.print_json({"success": True, "rc_path": str(path), "warnings": warnings, "get": {}})
    else:
        for warning in warnings:
            print(warning, file=sys.stderr)
    return 0


def _used_packages(context: Context) -> set[str]:
    return {dist(record) for prefix in envs.known(context) for record in installed(prefix).values()}


def clean(args: Namespace, context: Context) -> int:
    """`conda clean`: archives, indexes, and packages that no known environment holds."""
    result: dict[str, Any] = {"success": True}
    used = _used_packages(context)
    doomed: list[Path] = []
    for folder in context.pkgs_dirs:
        if not os.access(folder, os.W_OK):
            continue
        if args.all or args.tarballs:
            doomed += [*folder.glob("*.conda"), *folder.glob("*.tar.bz2")]
        if args.all or args.packages:
            doomed += [
                entry.parent.parent
                for entry in folder.glob("*/info/index.json")
                if entry.parent.parent.name not in used
            ]
        if args.all or args.index_cache:
            doomed += (folder / "cache").glob("*.json")
    if doomed and not context.dry_run:
        output.confirm(context, "Proceed ([y]/n)? ", "y")
    for path in doomed:
        output.say(context, f"{'Would remove' if context.dry_run else 'Removing'} {path}")
        if not context.dry_run:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    result["files"] = [str(path) for path in doomed]
    if context.json:
        output.print_json(result)
    return 0
