"""What comes over the network: indexes of channels, and packages into the package cache.

Plain urllib, not rattler's own client: that one wants the box's CA certificates to be there even
where every channel is plain HTTP.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import ssl
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import CONDA_VERSION, errors
from .context import Context
from .records import Record, channel_name, dist, full

_TRY_AGAIN = (413, 429, 500, 503)
_WORKERS = 5
RECORD_FILE = "info/repodata_record.json"


@dataclass(frozen=True)
class Channel:
    """A channel by its address."""

    url: str
    name: str

    @classmethod
    def of(cls, text: str, context: Context) -> Channel:
        """Understand what -c or the settings say: a name, an address or a path."""
        text = text.rstrip("/")
        if "://" in text:
            url = text
        elif text.startswith(("/", "./", "../", "~")):
            url = f"file://{os.path.abspath(os.path.expanduser(text))}"
        else:
            url = f"{context.channel_alias}/{text}"
        return cls(url, channel_name(url, context.channel_alias))

    def as_json(self) -> dict[str, Any]:
        """The object by which errors show a channel."""
        scheme, _, rest = self.url.partition("://")
        location = rest.removesuffix(self.name).rstrip("/")
        return {
            "auth": None,
            "location": location,
            "name": self.name,
            "package_filename": None,
            "platform": None,
            "scheme": scheme,
            "token": None,
        }


def _open(url: str, context: Context, headers: Mapping[str, str]) -> Any:
    verify = context.ssl_verify
    tls = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(
        url, headers={"User-Agent": f"conda/{CONDA_VERSION} standin", **headers}
    )
    timeout = float(context.setting("remote_read_timeout_secs", 60))
    return urllib.request.urlopen(request, timeout=timeout, context=tls)


def request(url: str, context: Context, headers: Mapping[str, str] | None = None) -> Any:
    """Open an address, trying again as conda does.

    Args:
        url: what to read.
        context: how often to retry, and the certificates.
        headers: further headers.

    Returns:
        The response.

    Raises:
        CondaError: CondaHTTPError, whose status_code is "000" when there was no answer at all.
    """
    for attempt in range(context.retries + 1):
        last = attempt == context.retries
        try:
            return _open(url, context, headers or {})
        except urllib.error.HTTPError as error:
            if error.code not in _TRY_AGAIN or last:
                raise errors.http_error(url, error.code, error.reason, str(error)) from error
            why: Exception = error
        except (OSError, http.client.HTTPException) as error:
            if url.startswith("file:"):
                raise errors.http_error(url, 404, "NOT FOUND", str(error)) from error
            if last:
                raise errors.http_error(
                    url, None, "CONNECTION FAILED", f"ConnectionError({error})"
                ) from error
            why = error
        print(
            f"Retrying (Retry(total={context.retries - attempt - 1}, connect=None, read=None,"
            f" redirect=None, status=None)) after connection broken by '{why!r}': {url}\n",
            file=sys.stderr,
        )
        time.sleep(2**attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _writable_pkgs_dir(context: Context) -> Path:
    for folder in context.pkgs_dirs:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    listed = "".join(f"\n  - {folder}" for folder in context.pkgs_dirs)
    raise errors.CondaError("NoWritablePkgsDirError", f"No writeable pkgs directories.{listed}\n")


def _index_file(channel: Channel, subdir: str, context: Context) -> Path:
    """Fetch one repodata.json, or find that the one kept from last time still holds.

    Returns:
        Where it is kept.
    """
    url = f"{channel.url}/{subdir}/repodata.json"
    cache = _writable_pkgs_dir(context) / "cache"
    cache.mkdir(exist_ok=True)
    kept = cache / f"{hashlib.md5(url.encode()).hexdigest()[:8]}.json"
    if context.offline:
        if not kept.exists():
            kept.write_text(json.dumps({"packages": {}, "packages.conda": {}}))
        return kept
    headers = {}
    if kept.exists():
        seen = time.gmtime(kept.stat().st_mtime)
        headers["If-Modified-Since"] = time.strftime("%a, %d %b %Y %H:%M:%S GMT", seen)
    try:
        with request(url, context, headers) as response:
            content = response.read()
            modified = response.headers.get("Last-Modified")
    except errors.CondaError as error:
        status = error.details["status_code"]
        if status == 304:
            return kept
        if status not in (403, 404):
            raise
        if subdir == "noarch":
            raise errors.invalid_channel(
                channel.name, channel.url, status, error.details["reason"]
            ) from error
        # As conda: a channel need not have packages for every platform.
        content, modified = b'{"packages": {}, "packages.conda": {}}', None
    handle, fresh = tempfile.mkstemp(dir=cache, suffix=".partial")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    if modified:
        when = time.mktime(time.strptime(modified, "%a, %d %b %Y %H:%M:%S %Z")) - time.timezone
        os.utime(fresh, (when, when))
    os.replace(fresh, kept)
    return kept


@dataclass(frozen=True)
class Index:
    """One channel's packages for one platform."""

    channel: Channel
    subdir: str
    file: Path

    def records(self) -> dict[str, Record]:
        """Address of the package -> its record."""
        content = json.loads(self.file.read_text())
        found: dict[str, Record] = {}
        for group in ("packages", "packages.conda"):
            for name, raw in content.get(group, {}).items():
                record = full({"subdir": self.subdir, **raw}, self.channel.url, name)
                found[record["url"]] = record
        return found


def indexes(channels: Sequence[Channel], context: Context) -> list[Index]:
    """Fetch the indexes of all channels.

    Raises:
        CondaError: a channel cannot be reached or is none.
    """
    wanted = [(channel, subdir) for channel in channels for subdir in context.subdirs]
    with ThreadPoolExecutor(_WORKERS) as pool:
        files = pool.map(lambda pair: _index_file(pair[0], pair[1], context), wanted)
        return [
            Index(channel, subdir, file)
            for (channel, subdir), file in zip(wanted, files, strict=True)
        ]


def _same(known: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether a kept package is the wanted one: by the first hash that both know."""
    for kind in ("sha256", "md5"):
        if known.get(kind) and record.get(kind):
            return bool(known[kind] == record[kind])
    return bool(known.get("url") == record["url"])


def extracted(record: Mapping[str, Any], context: Context) -> Path | None:
    """Where a package lies extracted already, None if it does nowhere."""
    for folder in context.pkgs_dirs:
        note = folder / dist(record) / RECORD_FILE
        try:
            known = json.loads(note.read_text())
        except (OSError, ValueError):
            continue
        if _same(known, record):
            return folder / dist(record)
    return None


def _hash(path: Path, kind: str) -> str:
    return hashlib.new(kind, path.read_bytes()).hexdigest()


def _kept_archive(record: Mapping[str, Any], context: Context) -> Path | None:
    name: str = record["fn"]
    for folder in context.pkgs_dirs:
        path = folder / name
        if not path.is_file():
            continue
        kind = next((kind for kind in ("sha256", "md5") if record.get(kind)), None)
        if kind is None or _hash(path, kind) == record[kind]:
            return path
    return None


def _download(record: Mapping[str, Any], folder: Path, context: Context) -> Path:
    file_name: str = record["fn"]
    target = folder / file_name
    handle, name = tempfile.mkstemp(dir=folder, prefix=f"{record['fn']}.", suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file, request(record["url"], context) as response:
            shutil.copyfileobj(response, file)
        for kind in ("sha256", "md5"):
            expected = record.get(kind)
            if expected and _hash(partial, kind) != expected:
                raise errors.checksum_mismatch(
                    record["url"], str(target), kind, expected, _hash(partial, kind)
                )
        partial.chmod(0o644)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    with (folder / "urls.txt").open("a") as text:
        text.write(f"{record['url']}\n")
    return target


def _unpack(archive: Path, record: Mapping[str, Any], folder: Path) -> Path:
    from rattler.package_streaming import extract

    target = folder / dist(record)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as work:
        fresh = Path(work) / "package"
        extract(archive, fresh)
        note: Record = dict(record)
        if not note.get("sha256"):
            note["sha256"] = _hash(archive, "sha256")
        index = json.loads((fresh / "info/index.json").read_text())
        (fresh / RECORD_FILE).write_text(json.dumps({**index, **note}, indent=2))
        if target.exists():
            # Another build of the same name, or the debris of an interrupted run.
            os.replace(target, Path(work) / "old")
        try:
            os.replace(fresh, target)
        except OSError:
            # A second conda was faster. Its package is the same one.
            if not (target / RECORD_FILE).exists():
                raise
    return target


def obtain(records: Sequence[Record], context: Context) -> dict[str, Path]:
    """Have packages extracted in the cache, downloading what is missing.

    Args:
        records: the packages.
        context: the package caches.

    Returns:
        The package's address -> its extracted directory.

    Raises:
        CondaMultiError: what could not be downloaded or had another hash.
    """

    def one(record: Record) -> Path | errors.CondaError:
        try:
            found = extracted(record, context)
            if found:
                return found
            archive = _kept_archive(record, context)
            folder = _writable_pkgs_dir(context)
            return _unpack(archive or _download(record, folder, context), record, folder)
        except errors.CondaError as error:
            return error

    with ThreadPoolExecutor(_WORKERS) as pool:
        results = list(pool.map(one, records))
    failed = [result for result in results if isinstance(result, errors.CondaError)]
    if failed:
        raise errors.CondaMultiError(failed)
    return {
        record["url"]: result
        for record, result in zip(records, results, strict=True)
        if isinstance(result, Path)
    }


def to_fetch(records: Sequence[Record], context: Context) -> list[Record]:
    """Those packages that are not in any cache yet."""
    return [
        record
        for record in records
        if not extracted(record, context) and not _kept_archive(record, context)
    ]
