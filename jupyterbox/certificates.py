"""The certificates of a site's own authorities."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

LIMIT = 50_000  # bytes; they travel in command lines, which Linux ends at 128 KiB


def read_certificates(path: Path) -> str:
    """The certificates in a PEM file, without what else is written there.

    Raises:
        ValueError: when there are none, or none that OpenSSL can read, or all of the world's.
    """
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    found = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)
    certificates = "\n".join(found)
    if len(certificates) > LIMIT:
        raise ValueError(f"{str(path)!r} holds more than the authorities of a site")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificates)
    except (ValueError, TypeError, ssl.SSLError):
        raise ValueError(f"{str(path)!r} is not a file with a PEM certificate") from None
    return certificates
