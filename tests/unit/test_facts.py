"""What every fact has in common, whatever it is about."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

from facts.jupyter import PublishedKernelspecs
from jupyterbox.settings import REPOSITORY

MODULES = [
    importlib.import_module(f"facts.{path.stem}")
    for path in sorted((REPOSITORY / "facts").glob("[a-z]*.py"))
]
FACTS: list[type[FactBase[Any]]] = [
    fact
    for module in MODULES
    for _, fact in inspect.getmembers(module, inspect.isclass)
    if issubclass(fact, FactBase) and fact.__module__ == module.__name__
]
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
every_fact = pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)


def shape_of(fact: type[FactBase[Any]]) -> Any:
    """The type that a fact expects of what its program prints; `None` for one without JSON."""
    asked: list[Any] = []

    def answer(output: list[str], shape: Any) -> Any:
        asked.append(shape)
        raise FactProcessError("only asked")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[fact.__module__], "answer", answer, raising=False)
        with contextlib.suppress(FactProcessError):
            fact().process([])
    return asked[0] if asked else None


# A kernel.json, which these hold whole, is of no type.
WITH_SHAPE = [fact for fact in FACTS if shape_of(fact) and fact is not PublishedKernelspecs]


@pytest.mark.parametrize("fact", WITH_SHAPE, ids=lambda fact: fact.__name__)
@given(data=st.data())
def test_whatever_a_program_may_print_is_made_into_an_answer(
    fact: type[FactBase[Any]], data: st.DataObject
) -> None:
    value = data.draw(st.from_type(shape_of(fact)))
    check(fact, [json.dumps(value)])


def test_answers_are_told_by_their_types() -> None:
    assert {"Conda", "CondaEnvs", "Kernelspecs", "HubActivity"} <= {f.__name__ for f in WITH_SHAPE}


def like(value: Any) -> st.SearchStrategy[Any]:
    """JSON that starts as a value does: an object with its keys, and garbage below them."""
    if isinstance(value, dict):
        return st.fixed_dictionaries({}, optional={key: JSON | like(value[key]) for key in value})
    return JSON


def check(fact: type[FactBase[Any]], lines: list[str]) -> None:
    """Either it refuses what a box said, or it makes of it what it always is."""
    try:
        found = fact().process(lines)
    except FactProcessError:
        return
    assert type(found) is type(fact().default())


@every_fact
@given(lines=st.lists(st.text()))
def test_garbage_raises_nothing_but_a_sentence(fact: type[FactBase[Any]], lines: list[str]) -> None:
    check(fact, lines)


@every_fact
@given(data=st.data())
def test_json_of_another_shape_raises_nothing_but_a_sentence(
    fact: type[FactBase[Any]], data: st.DataObject
) -> None:
    value = data.draw(like(fact().default()) | JSON)
    check(fact, json.dumps(value, indent=data.draw(st.sampled_from([None, 1]))).splitlines())


@every_fact
def test_the_docstring_shows_what_it_answers(fact: type[FactBase[Any]]) -> None:
    assert fact.__doc__
    if isinstance(fact().default(), dict):
        assert "```" in fact.__doc__
