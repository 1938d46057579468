"""Addresses of W&B for people."""

import os
from urllib.parse import urlsplit

import wandb


def configured_address() -> str:
    """Return the address of W&B that the SDK is configured for, without a user and password."""
    address = os.environ.get("WANDB_BASE_URL") or str(wandb.Settings().base_url)
    scheme = urlsplit(address).scheme or "https"
    return f"{scheme}://{host_of(address)}"


def host_of(address: str) -> str:
    """Return host and port of an address, without the user and password that it may have."""
    return urlsplit(address).netloc.rpartition("@")[2] or address
