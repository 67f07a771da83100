"""What is written about the code is there, and true where a test can tell."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from pyinfra.api.facts import FactBase
from pyinfra_cli.commands import get_facts_and_args  # type: ignore[import-untyped]
from typing_extensions import TypedDict

from jupyterbox import settings
from jupyterbox.asking import FACTS
from jupyterbox.settings import REPOSITORY, Setting
from tests.answers import (
    PAGE,
    fact_class,
    has_shape,
    laid_out,
    shape,
    shortened,
    shown_answers,
    without_notes,
)
from tests.examples import example

MODULES = sorted(
    path
    for folder in ("facts", "operations", "jupyterbox", "tasks", "inventories")
    for path in (REPOSITORY / folder).rglob("*.py")
    if path.read_text().strip()
)
MODELS = [model for _, model in inspect.getmembers(settings, inspect.isclass)]
DECLARED = [model for model in MODELS if issubclass(model, Setting) and model is not Setting]


def public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Every function and class that others may use, with its name; methods by Class.name."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.startswith("_"):
                continue
            yield f"{prefix}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{node.name}.")


def inherited(path: Path, name: str) -> bool:
    """Whether a method does what its base class says that it does."""
    holder, _, method = name.rpartition(".")
    if not holder or "remote" in path.parts:
        return False
    module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    cls = getattr(importlib.import_module(module), holder)
    return any(
        method in {**vars(base), **inspect.get_annotations(base)} for base in cls.__mro__[1:]
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_everything_public_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module"
    silent = [
        name
        for name, node in public(tree.body)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not ast.get_docstring(node)
        and not inherited(path, name)
    ]
    assert silent == []


@pytest.mark.parametrize("model", DECLARED, ids=lambda model: model.__name__)
def test_every_setting_is_described_where_it_is_defined(model: type[Setting]) -> None:
    described = inspect.getdoc(model) or ""
    for name in model.model_fields:
        assert re.search(rf"\b{name}\b", described.partition("Args:")[2]), name


@pytest.mark.parametrize("model", DECLARED, ids=lambda model: model.__name__)
def test_every_setting_is_in_the_manual(model: type[Setting]) -> None:
    manual = (REPOSITORY / "docs/settings.md").read_text()
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", manual, re.MULTILINE))
    name = model.__name__
    if name == "Installer":
        text = sections["Conda"]
    else:
        text = next(text for title, text in sections.items() if name in title.split(", "))
    for setting in model.model_fields:
        assert re.search(rf"`[^`]*\b{setting}\b[^`]*`", text), setting


def facts() -> list[type[FactBase[object]]]:
    """Every fact of facts/."""
    modules = [path.stem for path in MODULES if path.parent.name == "facts"]
    found = [importlib.import_module(f"facts.{name}") for name in modules]
    return [
        cls
        for module in found
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, FactBase) and cls.__module__ == module.__name__
    ]


@pytest.mark.parametrize("cls", facts(), ids=lambda cls: cls.__name__)
def test_every_fact_has_an_empty_value_and_says_what_it_takes(cls: type[FactBase[object]]) -> None:
    assert cls().default() is not None
    described = inspect.getdoc(cls) or ""
    for parameter in list(inspect.signature(cls.command).parameters)[1:]:
        assert re.search(rf"^ +{parameter}: ", described, re.MULTILINE), parameter


def asked_by_people(cls: type[FactBase[object]]) -> bool:
    """Whether a fact says what is wrong, as those do that people ask."""
    empty = cls().default()
    return isinstance(empty, dict) and "problems" in empty


ASKED_BY_PEOPLE = [cls for cls in facts() if asked_by_people(cls)]


def test_facts_that_people_ask_are_those_with_problems() -> None:
    assert {cls.name for cls in ASKED_BY_PEOPLE} >= set(FACTS.values())


@pytest.mark.parametrize("cls", ASKED_BY_PEOPLE, ids=lambda cls: cls.__name__)
def test_every_fact_that_people_ask_is_in_the_manual(cls: type[FactBase[object]]) -> None:
    entry = fact_entries()[cls.name]
    assert f"\n    pyinfra inventories/box.py fact {cls.name}" in entry
    assert re.search(r"^(Takes|Needs) .*\b(no )?root\b", entry, re.MULTILINE | re.DOTALL)
    for argument in list(inspect.signature(cls.command).parameters)[1:]:
        assert f"`{argument}`" in entry, argument


@pytest.mark.parametrize("cls", ASKED_BY_PEOPLE, ids=lambda cls: cls.__name__)
def test_the_manual_shows_a_real_answer_of_every_fact(cls: type[FactBase[object]]) -> None:
    [(asked, shown)] = [one for one in shown_answers() if one[0].split()[0] == cls.name]
    assert f"<!-- answer: {asked} -->" in fact_entries()[cls.name]
    assert has_shape(shown, shape(cls))
    if cls.name in FACTS.values():
        assert without_notes(shown) != cls().default(), "an answer of a box that has it"
    # Its command line is one that pyinfra takes.
    [(_, _, arguments)] = get_facts_and_args(asked.split())
    inspect.signature(cls().command).bind(**arguments)


def test_what_the_manual_shows_of_gpus_is_what_recordings_amount_to() -> None:
    shown = dict(shown_answers("example"))
    assert sorted(shown) == ["facts.gpu.Gpus", "facts.gpu.NvidiaDriver"]
    for name, answer in shown.items():
        # After a change: `python -m tests.record examples`.
        assert answer == shortened(example(name), shape(fact_class(name))), name


def test_the_manual_names_every_other_fact() -> None:
    listed = fact_entries()["What the deploy asks"]
    others = [cls for cls in facts() if cls not in ASKED_BY_PEOPLE]
    assert sorted(re.findall(r"`([A-Z]\w+)`", listed)) == sorted(cls.__name__ for cls in others)


def test_the_manual_names_what_status_prints_for_programs() -> None:
    manual = (REPOSITORY / "docs/operating.md").read_text()
    for subject in ["problems", *FACTS]:
        assert f"`{subject}`" in manual, subject


def fact_entries() -> dict[str, str]:
    """The sections of docs/facts.md, by their titles."""
    return dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", PAGE.read_text(), re.MULTILINE))


class Entry(TypedDict):
    id: str
    tags: list[str]


class Answer(TypedDict):
    entries: dict[str, Entry]
    when: str | None


def test_an_answer_is_shortened_by_rule() -> None:
    entry: Entry = {"id": "/releases/0123456789ab/bin", "tags": list("abcdef")}
    answer = {"entries": dict.fromkeys("xyz", entry), "when": "2026-11-23T16:40:00+00:00"}
    found = shortened(answer, Answer)
    few = {"id": "/releases/0123…/bin", "tags": ["a", "b", "c", "d", "… 2 more"]}
    assert found == {
        "entries": {"x": few, "y": few, "…": "1 more"},
        "when": "2026-11-23T16:40:00+00:00",
    }
    assert has_shape(found, Answer)
    assert json.loads(laid_out(found)) == found
    assert not has_shape({**answer, "more": 1}, Answer)
    with pytest.raises(ValidationError):
        has_shape({"entries": {}}, Answer)


def test_the_deploy_is_a_table_of_contents() -> None:
    body = ast.parse((REPOSITORY / "deploy.py").read_text()).body
    steps = [node for node in body if isinstance(node, ast.Expr | ast.Assign)][1:]
    # `box = host.data.box`, then a call a layer; no logic.
    assert isinstance(steps[0], ast.Assign)
    assert all(isinstance(s, ast.Expr) and isinstance(s.value, ast.Call) for s in steps[1:])
    assert len(body) == len(steps) + 3, "a docstring, two imports, and the steps"
