"""What `conda activate` and `conda deactivate` have a POSIX shell do."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from . import envs
from .context import Context


def _scripts(prefix: str, folder: str) -> list[str]:
    return [
        f". {shlex.quote(str(script))}"
        for script in sorted(Path(prefix, "etc/conda", folder).glob("*.sh"))
    ]


def _export(values: Mapping[str, str | None]) -> list[str]:
    return [
        f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"
        for name, value in values.items()
    ]


def _modifier(name: str) -> str:
    return f"({name}) "


def _without(path: str, prefix: str | None) -> list[str]:
    parts = path.split(os.pathsep) if path else []
    return [part for part in parts if prefix is None or part != f"{prefix}/bin"]


def _prompt(context: Context, environ: Mapping[str, str], name: str | None) -> list[str]:
    """Put the environment's name before the prompt, in the place of the last one's."""
    if "PS1" not in environ or not context.changeps1:
        return []
    prompt = environ["PS1"]
    last = environ.get("CONDA_PROMPT_MODIFIER", "")
    if last and last in prompt:
        prompt = prompt.replace(last, "", 1)
    return [f"PS1={shlex.quote((_modifier(name) if name else '') + prompt)}"]


def activate(
    context: Context, prefix: str, environ: Mapping[str, str], *, prompt: bool = True
) -> str:
    """The shell lines that activate an environment.

    Args:
        context: the settings.
        prefix: the environment.
        environ: the shell's variables.
        prompt: whether to change the prompt too.
    """
    level = int(environ.get("CONDA_SHLVL") or 0)
    active = environ.get("CONDA_PREFIX") if level else None
    name = envs.name_of(context, prefix) or prefix
    lines = _scripts(active, "deactivate.d") if active else []
    path = os.pathsep.join([f"{prefix}/bin", *_without(environ.get("PATH", ""), active)])
    values: dict[str, str | None] = {"PATH": path, "CONDA_PREFIX": prefix}
    if active == prefix:
        values["CONDA_SHLVL"] = str(level)
    else:
        values["CONDA_SHLVL"] = str(level + 1)
        if active:
            values[f"CONDA_PREFIX_{level}"] = active
    values["CONDA_DEFAULT_ENV"] = name
    values["CONDA_PROMPT_MODIFIER"] = _modifier(name) if context.changeps1 else ""
    values["CONDA_EXE"] = f"{context.root}/bin/conda"
    values["CONDA_PYTHON_EXE"] = f"{context.root}/bin/python"
    lines += _prompt(context, environ, name) if prompt else []
    return "\n".join([*lines, *_export(values), *_scripts(prefix, "activate.d")])


def deactivate(context: Context, environ: Mapping[str, str]) -> str:
    """The shell lines that go back to the environment that was active before."""
    level = int(environ.get("CONDA_SHLVL") or 0)
    active = environ.get("CONDA_PREFIX")
    if level < 1 or not active:
        return ""
    earlier = environ.get(f"CONDA_PREFIX_{level - 1}") if level > 1 else None
    parts = _without(environ.get("PATH", ""), active)
    name = (envs.name_of(context, earlier) or earlier) if earlier else None
    values: dict[str, str | None] = {
        "PATH": os.pathsep.join([f"{earlier}/bin", *parts] if earlier else parts),
        "CONDA_PREFIX": earlier,
        "CONDA_DEFAULT_ENV": name,
        "CONDA_SHLVL": str(level - 1),
        "CONDA_PROMPT_MODIFIER": _modifier(name) if name and context.changeps1 else None,
    }
    if earlier:
        values[f"CONDA_PREFIX_{level - 1}"] = None
    lines = [*_scripts(active, "deactivate.d"), *_prompt(context, environ, name)]
    return "\n".join(
        [*lines, *_export(values), *(_scripts(earlier, "activate.d") if earlier else [])]
    )
