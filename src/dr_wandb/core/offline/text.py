"""Text and JSON as a `.wandb` file holds them. Neither is lost if it cannot be decoded."""

from typing import Any

from dr_wandb.core.contract.values import decode_json


def text_of(raw: bytes) -> str:
    """Return text; bytes that are not UTF-8 become escapes."""
    return raw.decode("utf-8", "backslashreplace")


def json_or_text(raw: bytes) -> Any:
    """Decode JSON; anything else is kept as text rather than lost."""
    try:
        return decode_json(raw, "a value")
    except ValueError:
        return text_of(raw)
