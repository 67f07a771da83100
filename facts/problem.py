"""What is wrong on a box, as every fact that people ask says it."""

from __future__ import annotations

from typing_extensions import TypedDict


class Problem(TypedDict):
    """One thing that is wrong, a sentence, and what to do about it, another."""

    problem: str
    cure: str
