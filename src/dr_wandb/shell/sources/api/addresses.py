"""Addresses of W&B for people."""

import os
import re
from urllib.parse import urlsplit

import wandb
from urllib3.util import parse_url


def configured_address() -> str:
    """Return the address of W&B that the SDK is configured for, without a user and password."""
    address = os.environ.get("WANDB_BASE_URL") or str(wandb.Settings().base_url)
    scheme = urlsplit(address).scheme or "https"
    return f"{scheme}://{host_of(address)}"


CLOUD = "https://api.wandb.ai"
"""W&B's own cloud: the SDK's default (wandb 0.10 to 0.31)."""

_CLOUD_HOSTS = {"api.wandb.ai", "wandb.ai", "www.wandb.ai"}
_USUAL_PORTS = {"http": 80, "https": 443}

_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f\\]")
"""What two parsers of addresses may take for different things, so that they see two hosts."""


def is_plain(address: str) -> bool:
    """Say whether an address of the web names one host, to whoever reads it, and no user."""
    if _AMBIGUOUS.search(address):
        return False
    try:
        parts, other = parse_url(address), urlsplit(address)
        named = bool(parts.host) and bool(other.hostname)
        return parts.scheme in _USUAL_PORTS and named and "@" not in other.netloc and not parts.auth
    except ValueError:
        return False


def server_of(address: str) -> str:
    """Return scheme, host and port of a server in one spelling; all names of the cloud are one.

    The address is read as `requests` reads it before it connects. Raises ValueError.
    """
    parts = parse_url(address)
    port = None if parts.port == _USUAL_PORTS.get(parts.scheme or "") else parts.port
    if (parts.scheme, port) == ("https", None) and parts.host in _CLOUD_HOSTS:
        return CLOUD
    server = f"{parts.scheme}://{parts.host}"
    return server if port is None else f"{server}:{port}"


def host_of(address: str) -> str:
    """Return host and port of an address, without the user and password that it may have."""
    return urlsplit(address).netloc.rpartition("@")[2] or address
