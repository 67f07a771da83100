"""list, info and the other commands that only look."""

from __future__ import annotations

import os
import platform
import re
import sys
from argparse import Namespace
from typing import Any

from . import CONDA_VERSION, envs, output
from .context import Context
from .records import (
    Record,
    base_url,
    canonical_channel,
    in_order,
    installed,
    link_item,
    pip_installed,
)

_HEAD = """\
# This file may be used to create an environment using:
# $ conda create --name <env> --file <this file>
# platform: {subdir}
# created-by: conda {version}
@EXPLICIT
"""


def list_packages(args: Namespace, context: Context) -> int:
    """`conda list`."""
    prefix = envs.existing(context, args.name, args.prefix)
    conda = list(installed(prefix).values())
    if args.explicit:
        print(_HEAD.format(subdir=context.subdir, version=CONDA_VERSION), end="")
        for record in in_order(conda):
            digest = f"#{record['md5']}" if args.md5 and record.get("md5") else ""
            if args.sha256 and record.get("sha256"):
                digest = f"#{record['sha256']}"
            print(f"{record['url']}{digest}")
        return 0
    records = sorted(conda + pip_installed(prefix, conda), key=lambda one: str(one["name"]))
    if args.regex:
        pattern = f"^{re.escape(args.regex)}$" if args.full_name else args.regex
        records = [one for one in records if re.search(pattern, one["name"])]
    if context.json:
        output.print_json([link_item(record, context.channel_alias) for record in records])
        return 0
    print(f"# packages in environment at {prefix}:\n#")
    _table(records, context)
    return 0


def _channel(record: Record, context: Context) -> str:
    if record["subdir"] == "pypi":
        return "pypi"
    return canonical_channel(base_url(record), context.channel_alias)


def _table(records: list[Record], context: Context) -> None:
    rows = [("# Name", "Version", "Build", "Channel")]
    rows += [(one["name"], one["version"], one["build"], _channel(one, context)) for one in records]
    widths = [
        max([least, *(len(row[column]) for row in rows)]) + 2
        for column, least in enumerate((25, 15, 15))
    ]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("".join([*cells, row[3]]).rstrip())


def _virtual_packages() -> list[list[str]]:
    import rattler

    found = []
    for package in rattler.VirtualPackage.detect():
        generic = package.into_generic()
        found.append([generic.name.normalized, str(generic.version), str(generic.build_string)])
    return found


def info(args: Namespace, context: Context) -> int:
    """`conda info`."""
    if args.base:
        print(context.root)
        return 0
    if args.envs:
        return env_list(args, context)
    listed = envs.listing(context)
    root = str(context.root)
    user_rc = str(context.home / ".condarc")
    active = os.environ.get("CONDA_PREFIX")
    os_name = platform.freedesktop_os_release()
    agent = (
        f"conda/{CONDA_VERSION} standin CPython/{platform.python_version()}"
        f" Linux/{platform.release()} {os_name.get('ID')}/{os_name.get('VERSION_ID')}"
    )
    described: dict[str, Any] = {
        "platform": context.subdir,
        "conda_version": CONDA_VERSION,
        "conda_env_version": CONDA_VERSION,
        "conda_build_version": "not installed",
        "root_prefix": root,
        "conda_prefix": root,
        "av_data_dir": f"{root}/etc/conda",
        "av_metadata_url_base": None,
        "root_writable": context.root_writable,
        "pkgs_dirs": [str(folder) for folder in context.pkgs_dirs],
        "envs_dirs": [str(folder) for folder in context.envs_dirs],
        "default_prefix": active or root,
        "active_prefix": active,
        "active_prefix_name": (envs.name_of(context, active) or active) if active else None,
        "conda_shlvl": int(os.environ.get("CONDA_SHLVL", -1)),
        "channels": _channel_urls(context),
        "user_rc_path": user_rc,
        "rc_path": user_rc,
        "sys_rc_path": f"{root}/.condarc",
        "offline": context.offline,
        "envs": listed["envs"],
        "python_version": f"{platform.python_version()}.final.0",
        "requests_version": "not installed",
        "user_agent": agent,
        "conda_location": os.path.dirname(__file__),
        "config_files": list(context.sources),
        "netrc_file": None,
        "virtual_pkgs": [["__conda", CONDA_VERSION, "0"], *_virtual_packages()],
        "solver": {"name": "rattler", "user_agent": "solver/rattler standin", "default": True},
        "tmp_dir": os.environ.get("TMPDIR", "/tmp"),
        "notices_cache_dir": str(context.home / ".cache/conda/notices"),
        "UID": os.geteuid(),
        "GID": os.getegid(),
        "sys.version": sys.version,
        "sys.prefix": sys.prefix,
        "sys.executable": sys.executable,
        "site_dirs": [],
        "env_vars": _env_vars(root),
        "envs_details": listed["envs_details"],
    }
    if context.json:
        output.print_json(described)
        return 0
    shown = {
        "active environment": described["active_prefix_name"] or "None",
        "user config file": described["user_rc_path"],
        "populated config files": ", ".join(described["config_files"]),
        "conda version": CONDA_VERSION,
        "python version": described["python_version"],
        "base environment": f"{root}  ({'writable' if context.root_writable else 'read only'})",
        "channel URLs": ", ".join(described["channels"]),
        "package cache": ", ".join(described["pkgs_dirs"]),
        "envs directories": ", ".join(described["envs_dirs"]),
        "platform": context.subdir,
        "UID:GID": f"{described['UID']}:{described['GID']}",
        "offline mode": str(context.offline),
    }
    print()
    for key, value in shown.items():
        print(f"{key:>26} : {value}")
    print()
    return 0


def _channel_urls(context: Context) -> list[str]:
    from .fetch import Channel

    return [
        f"{Channel.of(text, context).url}/{subdir}"
        for text in context.channels
        for subdir in context.subdirs
    ]


def _env_vars(root: str) -> dict[str, str]:
    usual = ("LD_PRELOAD", "SSL_CERT_FILE", "PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    shown = {name: os.environ.get(name, "<not set>") for name in (*usual, "CIO_TEST")}
    shown["CONDA_ROOT"] = root
    return shown


def env_list(args: Namespace, context: Context) -> int:
    """`conda env list` and `conda info --envs`."""
    if context.json:
        output.print_json(envs.listing(context))
    else:
        print(envs.listing_text(context))
    return 0


def history_specs(prefix: str) -> list[str]:
    """What was asked for explicitly in an environment, by name."""
    records = installed(prefix).values()
    return [spec for record in records for spec in record.get("requested_specs") or []]


def env_export(args: Namespace, context: Context) -> int:
    """`conda env export`."""
    prefix = envs.existing(context, args.name, args.prefix)
    held = list(installed(prefix).values())
    name = envs.name_of(context, prefix) or prefix
    if args.from_history:
        dependencies: list[Any] = history_specs(prefix)
        channels: list[str] = []
    else:
        dependencies = [f"{one['name']}={one['version']}={one['build']}" for one in held]
        pip = pip_installed(prefix, held)
        if pip:
            dependencies.append({"pip": [f"{one['name']}=={one['version']}" for one in pip]})
        alias = context.channel_alias
        channels = sorted({canonical_channel(base_url(one), alias) for one in held})
    described: dict[str, Any] = {"name": name}
    if channels:
        described["channels"] = channels
    described |= {"dependencies": dependencies, "prefix": prefix}
    if context.json:
        output.print_json(described)
        return 0
    import yaml

    text = yaml.safe_dump(described, sort_keys=False, default_flow_style=False)
    # conda indents the items of a list.
    print(re.sub(r"^( *)- ", r"\1  - ", text, flags=re.M), end="")
    return 0
