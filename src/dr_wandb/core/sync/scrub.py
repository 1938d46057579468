"""Remove secrets from what a source said, before it is written to a recording.

Rules
- Only texts that are certainly secrets are removed: those that the caller names, and the query
  parameters that make a signed URL work. Everything else stays, whatever its key is called.
- Scrubbing twice is scrubbing once.
- A named secret is replaced by `REMOVED`, also inside longer text, in keys, and in the form in
  which HTTP sends it (base64 of `api:` and the key). Texts shorter than `LEAST_SECRET` characters
  could be ordinary data and are not treated as secrets.
- A URL is signed if it has `X-Goog-Signature`, `X-Amz-Signature`, `X-Amz-Security-Token`, or a
  `Signature` or `sig` together with what such a signature needs. It loses the signature and its
  companions; the address and all other parameters stay.
"""

import base64
import re
from collections.abc import Iterable
from typing import Any

REMOVED = "[removed]"
"""Replaces a named secret."""

LEAST_SECRET = 8
"""A text with fewer characters is not treated as a secret."""

_URL = re.compile(r"https?://(?:\\+u0026|[^\s\"'<>\\])+", re.IGNORECASE)
_PARAMETER = re.compile(
    r"(?:[?]|&amp;|&|\\+u0026)(?P<name>[A-Za-z0-9_-]+)=[^&#\s\"'<>\\)\]}]*",
)
_SEPARATOR = re.compile(r"&amp;|&|\\+u0026")

_SIGNATURES = {"x-goog-signature", "x-amz-signature", "x-amz-security-token"}
_COMPANIONS = {"expires", "policy", "googleaccessid", "awsaccesskeyid", "key-pair-id"}
_AZURE_COMPANIONS = {"se", "sp", "sv"}


def spell_secrets(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return every text that must not be recorded, the longest first."""
    spelled: set[str] = set()
    for secret in secrets:
        if len(secret) >= LEAST_SECRET:
            encoded = base64.b64encode(f"api:{secret}".encode("utf-8", "replace")).decode()
            spelled.update((secret, encoded))
    return tuple(sorted(spelled, key=lambda text: (-len(text), text)))


def scrub(value: Any, secrets: tuple[str, ...] = ()) -> Any:
    """Return a JSON-safe value without the secrets in it.

    secrets: as `spell_secrets` returns them. The value itself is not changed.
    """
    if isinstance(value, str):
        return scrub_text(value, secrets)
    if isinstance(value, dict):
        return _scrub_object(value, secrets)
    if isinstance(value, list):
        return [scrub(member, secrets) for member in value]
    return value


def scrub_text(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return text without the secrets in it."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, REMOVED)
    return _URL.sub(_unsign, text) if "://" in text else text


def _scrub_object(value: dict[str, Any], secrets: tuple[str, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, member in value.items():
        clean = scrub_text(key, secrets)
        while clean in result or (clean != key and clean in value):
            clean += "'"
        result[clean] = scrub(member, secrets)
    return result


def _unsign(match: re.Match[str]) -> str:
    url = match[0]
    base, mark, query = url.partition("?")
    names = {found["name"].lower() for found in _PARAMETER.finditer(mark + query)}
    if not _signed(names):
        return url
    kept = _PARAMETER.sub(lambda found: "" if _signing(found["name"]) else found[0], mark + query)
    separator = _SEPARATOR.match(kept)
    return base + (kept if separator is None else "?" + kept[separator.end() :])


def _signed(names: set[str]) -> bool:
    return bool(
        names & _SIGNATURES
        or ("signature" in names and names & _COMPANIONS)
        or ("sig" in names and names & _AZURE_COMPANIONS)
    )


def _signing(name: str) -> bool:
    lower = name.lower()
    return lower.startswith(("x-goog-", "x-amz-")) or lower in {"signature", "sig", *_COMPANIONS}
