"""The archive of a backup: what is written comes out again, and nothing else is taken for one."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.archives import archive, packed, unpacked

WHOLE = packed({"hub/database": b"SQLite" * 999, "homes/ada/00000000": bytes(range(256)) * 9})


def refused(content: bytes) -> str:
    """Why an archive is refused."""
    with pytest.raises(archive.Damaged) as caught:
        unpacked(content)
    return str(caught.value)


def tarred(*members: tarfile.TarInfo, format: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar that no backup has written."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=format) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return file.getvalue()


def member(name: str, **attributes: Any) -> tarfile.TarInfo:
    """A member with such attributes."""
    info = tarfile.TarInfo(name)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info


def test_what_is_written_comes_out_again() -> None:
    members, manifest = unpacked(WHOLE)
    assert members["hub/database"] == b"SQLite" * 999
    assert members["homes/ada/00000000"] == bytes(range(256)) * 9
    assert manifest["format"] == 1
    assert list(manifest["members"]) == list(members)


def test_anybody_can_take_one_apart() -> None:
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as tar:
        assert tar.getnames()[-1] == "manifest.json"
        assert {info.mode for info in tar} == {0o600}


def test_a_member_that_nobody_has_read_is_checked_all_the_same() -> None:
    raw = bytearray(gzip.decompress(WHOLE))
    raw[raw.index(b"SQLite")] ^= 1
    said = []
    with pytest.raises(archive.Damaged) as caught:
        for name, _, _ in archive.Reader(io.BytesIO(gzip.compress(bytes(raw)))):
            said.append(name)
    assert said == ["accounts.json", "hub/database", "homes/ada/00000000"]
    assert str(caught.value) == "is damaged: 'hub/database' is not what the manifest says"


@given(st.binary(max_size=600))
def test_garbage_is_refused(content: bytes) -> None:
    assert refused(content)
    assert refused(gzip.compress(content))


def test_two_are_not_one() -> None:
    large = packed({"hub/database": bytes(99999)})
    assert refused(large + WHOLE) == "goes on after its end"


@given(st.integers(0, len(WHOLE) - 1))
def test_a_part_of_one_is_refused(length: int) -> None:
    assert refused(WHOLE[:length])


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_byte_that_has_changed_is_noticed_or_says_nothing(at: int, by: int) -> None:
    changed = bytearray(WHOLE)
    changed[at] ^= by
    try:
        found = unpacked(bytes(changed))
    except archive.Damaged:
        return
    # The head of a gzip file says when it was made, and there are two ways to pack the same.
    assert found == unpacked(WHOLE)


@given(st.data())
def test_a_byte_that_has_changed_inside_is_noticed(data: st.DataObject) -> None:
    raw = bytearray(gzip.decompress(WHOLE))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        found = unpacked(gzip.compress(bytes(raw), 1))
    except archive.Damaged:
        return
    # Fields of a tar's header that nobody asks for, padding, and words of the manifest.
    assert found[0] == unpacked(WHOLE)[0]


@pytest.mark.parametrize(
    "hostile",
    [
        member("hub/database", type=tarfile.SYMTYPE, linkname="/etc/shadow"),
        member("hub/database", type=tarfile.LNKTYPE, linkname="accounts.json"),
        member("hub/database", type=tarfile.CHRTYPE),
        member("hub/database", type=tarfile.FIFOTYPE),
        member("configuration/jupyterhub_config.d", type=tarfile.DIRTYPE),
        member("/etc/shadow"),
        member("hub/../../etc/shadow"),
        member("configuration/../x"),
        member("configuration/x/.."),
        member("configuration//x"),
        member("configuration"),
        member("drop-ins/ssh.service.d/x.conf"),
        member("homes/../00000000"),
        member("homes/ada/.bashrc"),
        member("else"),
    ],
    ids=lambda info: f"{info.name} {info.type!r}",
)
def test_what_no_backup_writes_is_refused(hostile: tarfile.TarInfo) -> None:
    assert refused(tarred(hostile)) == f"has {hostile.name!r} in it, which no backup writes"


def test_a_member_with_a_longer_story_is_refused() -> None:
    hostile = member("hub/database", pax_headers={"size": "7"})
    assert "no backup writes" in refused(tarred(hostile, format=tarfile.PAX_FORMAT))


def test_nothing_is_in_it_twice_or_after_its_manifest() -> None:
    twice = member("hub/database")
    assert refused(tarred(twice, twice)) == "has 'hub/database' in it twice"
    raw = gzip.decompress(packed())
    ending = raw.rstrip(b"\0")
    ending += bytes(-len(ending) % 512)
    more = gzip.decompress(tarred(member("hub/cookie_secret")))
    assert refused(gzip.compress(ending + more)) == "has 'hub/cookie_secret' after its manifest"


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (b"", "has a manifest that cannot be read"),
        (b"[]", "has a manifest that cannot be read"),
        (b'{"format": 1}', "has a manifest that cannot be read"),
        (b'{"format": 1, "members": 7}', "has a manifest that cannot be read"),
        (b"[" * 9999, "has a manifest that cannot be read"),
        (
            b'{"format": 2, "by": "jupyterbox 3", "members": {}}',
            "is of format 2, by jupyterbox 3; this one reads format 1",
        ),
        (
            b'{"format": 1, "members": {"hub/database": {}}}',
            "is damaged: 'hub/database' is not what the manifest says",
        ),
    ],
)
def test_a_manifest_says_what_there_is(manifest: bytes, says: str) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(member("manifest.json", size=len(manifest)), io.BytesIO(manifest))
    assert refused(file.getvalue()) == says
