"""What a conda environment's history tells: the specs that were asked for, the channels used."""

import ast
import re

LONG = 500  # characters; more is no spec


def requested(history, names):
    """The specs that were asked for and not taken back, sorted; those of packages still there."""
    specs = {}
    for action, listed in re.findall(r"^#\s*(\w+)\s*specs:\s*(.*)$", history, re.MULTILINE):
        for spec in parse_specs(listed):
            name = spec_name(spec)
            if action in ("remove", "uninstall"):
                specs.pop(name, None)
            elif action in ("update", "install", "create", "neutered"):
                specs[name] = spec
    return sorted(masked(spec)[:LONG] for name, spec in specs.items() if name in names)


def parse_specs(listed):
    """The specs of a line of the history."""
    try:
        found = ast.literal_eval(listed.strip()) if listed.lstrip().startswith("[") else []
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return []
    return [spec for spec in found if isinstance(spec, str) and not spec.endswith("@")]


def spec_name(spec):
    """The name of the package that a spec asks for."""
    match = re.match(r"[\w.-]+", spec.rpartition("::")[2])
    return match[0].lower() if match else ""


def channels(history, stems):
    """The channels that the packages came from, as the history names them."""
    found = {}
    for sign, channel, stem in re.findall(r"^([+-])(.+)::(.+)$", history, re.MULTILINE):
        if sign == "+":
            found[stem] = channel
        else:
            found.pop(stem, None)
    named = (found[stem] for stem in stems if stem in found)
    return sorted({masked(channel.rpartition("/")[0] or channel) for channel in named})


def masked(text):
    """A text without the passwords and tokens that addresses of channels may hold."""
    text = re.sub(r"(://)[^/\s]+@", r"\1***@", text)
    return re.sub(r"/t/[^/\s]+", "/t/***", text)
