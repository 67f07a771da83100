"""Whether a version is what a spec of conda's or pip's asks for, told without either of them.

What is not understood here is not met: then an environment is built, which is never wrong.
"""

import re
from itertools import zip_longest

PIP = re.compile(r"([\w.-]+)(?:\[[\w.,\s-]*\])?\s*((?:[<>=!~].*)?)")
CLAUSE = re.compile(r"(==|>=|<=|!=|~=|>|<|=)?\s*([\w.!+-]+?)(\.?\*)?")


def order(version):
    """A version as something that sorts as conda does: numbers after letters, `post` after both."""
    epoch, _, rest = version.lower().rpartition("!")
    found = [[int(epoch) if epoch.isdecimal() else 0]]
    for part in re.split(r"[._+-]", rest):
        words = re.findall(r"\d+|[a-z]+", part)
        found.append([int(word) if word.isdecimal() else word for word in words] or [0])
        if not isinstance(found[-1][0], int):
            found[-1].insert(0, 0)
    return found


def compare(one, other):
    """-1, 0 or 1, as one version is before, at, or after another."""
    for left, right in zip_longest(order(one), order(other), fillvalue=[0]):
        for pair in zip_longest(left, right, fillvalue=0):
            first, second = map(rank, pair)
            if first != second:
                return -1 if first < second else 1
    return 0


def rank(word):
    """Where a number or a word stands among its like."""
    if isinstance(word, int):
        return (2, word, "")
    return {"post": (3, 0, ""), "dev": (0, 0, "")}.get(word, (1, 0, word))


def begins(version, start):
    """Whether a version is of a series, as 3.13.5 is of 3.13."""
    parts, wanted = re.split(r"[._+-]", version.lower()), re.split(r"[._+-]", start.lower())
    return parts[: len(wanted)] == wanted


def meets(version, constraint, series):
    """Whether a version meets all of some clauses.

    Args:
        constraint: `>=1,<2`, `3.13.*`, `1|2`.
        series: whether `=1.2` and `1.2` are those that begin so, as for conda.
    """
    return any(
        all(meets_clause(version, clause.strip(), series) for clause in choice.split(","))
        for choice in constraint.split("|")
    )


def meets_clause(version, clause, series):
    """Whether it meets one."""
    if clause == "*":
        return True
    match = CLAUSE.fullmatch(clause)
    if not match or not match[2]:
        return False
    sign, wanted, star = match.groups()
    if star:
        return begins(version, wanted) != (sign == "!=") and sign in (None, "=", "==", "!=")
    at = compare(version, wanted)
    if sign == "~=":
        return at >= 0 and begins(version, wanted.rpartition(".")[0])
    if sign in (None, "="):
        return begins(version, wanted) if series and sign else at == 0
    return {"==": at == 0, "!=": at != 0, ">": at > 0, "<": at < 0}.get(
        sign, at >= 0 if sign == ">=" else at <= 0
    )


def conda_meets(spec, there):
    """Whether an environment has what a spec of conda's asks for.

    Args:
        spec: `python=3.13`, `numpy>=2,<3`, `conda-forge::r-base 4.4.* h123_0`.
        there: its packages by name: (version, build).
    """
    spec = spec.partition("::")[2] or spec
    match = re.fullmatch(r"([A-Za-z0-9_.-]+?)\s*((?:==|[=<>!~]|\s).*)?", spec.strip())
    if not match or match[1].lower() not in there:
        return False
    version, build = there[match[1].lower()]
    said = re.sub(r"\s*([,|])\s*", r"\1", (match[2] or "").strip())
    said = re.sub(r"([<>=!~])\s+", r"\1", said)
    # `=1.2=py_0` and `1.2 py_0` name the build, too.
    wanted = re.fullmatch(r"(==|=)?([^\s=<>!~,|]+)(?:=|\s+)([^\s=<>!~]+)", said)
    if wanted:
        exact = bool(wanted[1] == "==" or "*" not in wanted[2])
        fits = compare(version, wanted[2]) == 0 if exact else meets(version, wanted[2], True)
        pattern = re.escape(wanted[3]).replace(r"\*", ".*")
        return fits and bool(re.fullmatch(pattern, build))
    return not said or meets(version, said, series=True)


def pip_meets(requirement, there):
    """Whether an environment has what a requirement of pip's asks for.

    Args:
        requirement: `torch==2.4`, `jax[cuda]>=0.4`.
        there: its Python packages by their normal names: version.
    """
    match = PIP.fullmatch(requirement.strip())
    if not match:
        return False
    version = there.get(re.sub(r"[-_.]+", "-", match[1]).lower())
    return version is not None and (not match[2] or meets(version, match[2], series=False))
