"""docs/facts.md shows what a real box answered: asked by command line, shortened by rule.

Between `<!-- answer: FACT ARGUMENTS -->` and `<!-- end -->` stands what pyinfra's command line
printed of the demo box; `python -m tests.record facts` writes it there. Of long lists the first
entries are shown, of long ids the first digits. What the demo box does not have is shown as well,
between `<!-- example: FACT -->` and `<!-- end -->`: the answer of a box that is made of recordings.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter
from pyinfra.api.facts import FactBase
from typing_extensions import is_typeddict

from jupyterbox.settings import REPOSITORY

PAGE = REPOSITORY / "docs/facts.md"
ANSWER = re.compile(
    r"(?P<head><!-- (?P<kind>answer|example): (?P<asked>[^\n]+) -->\n)"
    r"(?:```json\n(?P<shown>.*?)```\n)?<!-- end -->\n",
    re.DOTALL,
)
ID = re.compile(r"\b(?=[0-9]*[a-f])([0-9a-f]{4})[0-9a-f]{8,}\b")

OBJECTS, VALUES = 2, 4
"""How many entries of a long list are shown."""
WIDTH = 96


def fact_class(name: str) -> type[FactBase[Any]]:
    """A fact by the name that pyinfra's command line knows it by."""
    module, _, cls = name.rpartition(".")
    found: type[FactBase[Any]] = getattr(importlib.import_module(module), cls)
    return found


def shape(fact: type[FactBase[Any]]) -> Any:
    """The type of a fact's answer."""
    return get_type_hints(fact.process)["return"]


def write_answers(ask: Callable[[str], Any], kind: str = "answer") -> None:
    """Put new answers into the page.

    Args:
        ask: what a box answers to a fact with its arguments, as one line.
        kind: `answer` or `example`.
    """

    def answered(match: re.Match[str]) -> str:
        asked = match["asked"]
        if match["kind"] != kind:
            return match[0]
        answer = shortened(ask(asked), shape(fact_class(asked.split()[0])))
        return f"{match['head']}```json\n{laid_out(answer)}\n```\n<!-- end -->\n"

    PAGE.write_text(ANSWER.sub(answered, PAGE.read_text()))


def shown_answers(kind: str = "answer") -> Iterator[tuple[str, Any]]:
    """What the page asks, and what it shows."""
    for match in ANSWER.finditer(PAGE.read_text()):
        if match["kind"] == kind:
            yield match["asked"], json.loads(match["shown"] or "null")


def shortened(value: Any, kind: Any) -> Any:
    """An answer with its long lists cut and its ids abbreviated; the keys of a shape all stay."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(option for option in get_args(kind) if option is not type(None))
    if value is None:
        return None
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        return {key: shortened(value[key], hints[key]) for key in value}
    if isinstance(value, list):
        [inner] = get_args(kind) or [Any]
        few = OBJECTS if value and isinstance(value[0], dict) else VALUES
        rest = [f"… {len(value) - few} more"] if len(value) > few else []
        return [*(shortened(item, inner) for item in value[:few]), *rest]
    if isinstance(value, dict):
        _, inner = get_args(kind) or (str, Any)
        first = {ID.sub(r"\1…", key): shortened(value[key], inner) for key in [*value][:OBJECTS]}
        more = len(value) - OBJECTS
        return {**first, "…": f"{more} more"} if more > 0 else first
    return ID.sub(r"\1…", value) if isinstance(value, str) else value


def laid_out(value: Any, indent: int = 0) -> str:
    """JSON with whatever fits into a line in one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= WIDTH or not value or not isinstance(value, dict | list):
        return line
    inner = " " * (indent + 2)
    if isinstance(value, list):
        lines = [laid_out(item, indent + 2) for item in value]
        return "[\n" + ",\n".join(inner + line for line in lines) + "\n" + " " * indent + "]"
    lines = [
        f"{json.dumps(key, ensure_ascii=False)}: {laid_out(value[key], indent + 2)}"
        for key in value
    ]
    return "{\n" + ",\n".join(inner + line for line in lines) + "\n" + " " * indent + "}"


def without_notes(value: Any) -> Any:
    """A shortened answer without what says that it is."""
    if isinstance(value, list):
        return [without_notes(item) for item in value if not str(item).startswith("… ")]
    if isinstance(value, dict):
        return {key: without_notes(value[key]) for key in value if key != "…"}
    return value


def has_shape(value: Any, kind: Any) -> bool:
    """Whether an answer, shortened or not, is of a type, with these keys and no others."""
    value = without_notes(value)
    found: Any = TypeAdapter(kind).validate_python(value, strict=True)
    return bool(found == value)
