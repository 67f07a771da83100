"""What was changed by hand in a release since it was built, told from its release.json."""

from conda_history import masked
from prefix import installed, normal


def baseline(prefix):
    """What a release's record keeps for this, of a `Prefix` that has just been built.

    Returns:
        The marks in site-packages, each with the conda package that it belongs to; None is pip's.
    """
    marks = prefix.python_packages()
    owners = prefix.owners(marks, prefix.stems)
    return {mark: owners.get(mark) for mark in marks}


def drift(prefix, record, built):
    """The packages that were added, removed or changed.

    Args:
        prefix: the release, a `Prefix`.
        record: what release.json says.
        built: when that was written; records that are younger are read.

    Returns:
        A list of {package, was, now, by}; `by` is conda or pip, and `pip` is there for a package
        that pip has another name for.
    """
    if not prefix.whole:
        return []
    then = {package["name"]: package for package in record["packages"]}
    rows = dict(changed_by_conda(prefix, then, built))
    for row in changed_by_pip(prefix, record["python"], then, {**rows}):
        # What conda removed and pip put in its place is one change.
        same = [name for name in rows if normal(name) == normal(row["package"])]
        earlier = rows.pop(same[0]) if same else {}
        rows[row["package"]] = {**row, "was": earlier.get("was") or row["was"]}
    return [rows[name] for name in sorted(rows)]


def changed_by_conda(prefix, then, built):
    """What conda's records say otherwise: name and row."""
    for name in sorted({*then, *prefix.stems}):
        was = shown(then[name]["version"], then[name]["build"]) if name in then else None
        now = shown(*prefix.stems[name]) if name in prefix.stems else None
        if was == now and was is not None:
            was, now = from_where(prefix, name, then[name], built)
        if was != now:
            yield name, {"package": name, "was": was, "now": now, "by": "conda"}


def from_where(prefix, name, then, built):
    """The same package of another channel: where it came from then, and now."""
    stem = "-".join((name, *prefix.stems[name]))
    found = prefix.files[stem]
    if max(found.st_mtime, found.st_ctime) <= built:
        return None, None
    record = prefix.record(stem) or {}
    was, now = then.get("url"), record.get("url")
    if not was or not now or was == now:
        return None, None
    return masked(str(was)), masked(str(now))


def changed_by_pip(prefix, then, conda_then, by_conda):
    """What the marks in site-packages say otherwise, and conda does not account for."""
    now = prefix.python_packages()
    added = {mark: package for mark, package in now.items() if mark not in then}
    if added:
        theirs = [name for name in by_conda if name in prefix.stems]
        owned = prefix.owners(added, theirs)
        added = {mark: package for mark, package in added.items() if mark not in owned}
    rows = {}
    for mark, owner in then.items():
        if mark in now or owner in by_conda:
            continue
        name, version = installed(mark)
        package, was = name, version
        if owner is not None:
            package, was = owner, shown(conda_then[owner]["version"], conda_then[owner]["build"])
        rows[name] = {"package": package, "was": was, "now": None, "by": "pip"}
        if normal(package) != name:
            rows[name]["pip"] = name
    for name, version in added.values():
        row = {"package": name, "was": None, "now": None, "by": "pip"}
        rows.setdefault(name, row)["now"] = version or "(no version)"
    return list(rows.values())


def shown(version, build):
    """A conda package's version and build, as `conda list` has them."""
    return f"{version} {build}"
