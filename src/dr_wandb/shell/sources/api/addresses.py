"""Addresses of W&B for people."""

import os
from urllib.parse import urlsplit

import wandb


def configured_address() -> str:
    """Return the address of W&B that the SDK is configured for, without a user and password."""
    address = os.environ.get("WANDB_BASE_URL") or str(wandb.Settings().base_url)
    scheme = urlsplit(address).scheme or "https"
    return f"{scheme}://{host_of(address)}"


CLOUD = "https://api.wandb.ai"
"""W&B's own cloud: the SDK's default (wandb 0.10 to 0.31)."""

_CLOUD_HOSTS = {"api.wandb.ai", "wandb.ai", "www.wandb.ai"}
_USUAL_PORTS = {"http": 80, "https": 443}


def server_of(address: str) -> str:
    """Return scheme, host and port of a server in one spelling; all names of the cloud are one."""
    parts = urlsplit(address)
    if parts.hostname in _CLOUD_HOSTS:
        return CLOUD
    scheme = parts.scheme.lower()
    port = None if parts.port == _USUAL_PORTS.get(scheme) else parts.port
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{scheme}://{name}" if port is None else f"{scheme}://{name}:{port}"


def host_of(address: str) -> str:
    """Return host and port of an address, without the user and password that it may have."""
    return urlsplit(address).netloc.rpartition("@")[2] or address
