"""The one shape of a history row, whichever way it came.

Rules
- An object without `_type` is flattened into dotted keys, as W&B's server does with live rows, at
  any depth but not inside lists. An object with `_type` (media, histogram) and a list stay.
- A null member of an object is dropped, at every depth, and so is a member that is an object
  without members. Inside lists both stay.
- A column of mixed type comes from exported Parquet as an object of `_type_*` members: its value is
  the one member that is not null. If several are not null, it stays an object.
- Bytes that are JSON text become that JSON. Text is never decoded.
- If a flattened key equals a literal one, the literal one keeps the key; the flattened one becomes
  `key (nested)`, then `key (nested 2)`. Of flattened ones, shorter paths come first.
- A row that has the shape already is returned unchanged.

Sources: W&B weave's readers of exported Parquet and its recorded history of 2023 to 2025, in which
live rows and exported ones are flattened alike.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dr_wandb.core.contract.values import MAX_DEPTH, decode_json, json_safe, text_keys

ROW_SHAPE = 2
"""The version of this shape. 1 is that of exports with `schema_version` 2 and less."""

OWN_METADATA = "_wandb"
"""The object that W&B itself adds to a row; it is always flattened."""

OWN_PREFIX = f"{OWN_METADATA}."

MOST_LEVELS = 150
"""Levels of nesting that are handled; deeper values are kept as their JSON text."""

UNION = "_type_"
"""The prefix of the member names of a value of mixed type."""
_SCALARS = frozenset({str, int, float, bool, type(None)})

Path = tuple[str, ...]


def flatten_row(raw_row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a raw row as JSON-safe values under flat keys, W&B's own columns included.

    Total: never fails. Keys inside `_wandb` become `_wandb.` and their path.
    """
    flat: dict[str, Any] = {}
    nested: list[tuple[Path, Any]] = []
    for key, raw_value in text_keys(raw_row):
        if type(raw_value) in _SCALARS:
            if raw_value is not None:
                flat[key] = json_safe(raw_value)
            continue
        for path, value in _leaves((key,), settle(raw_value)):
            if len(path) == 1:
                flat[key] = value
            else:
                nested.append((path, value))
    for path, value in sorted(nested, key=_by_length):
        flat[free_key(".".join(path), flat)] = value
    return flat


def is_open(value: Mapping[Any, Any]) -> bool:
    """Say whether an object is flattened: it has no `_type`, and is not of mixed type."""
    return settle(value.get("_type")) is None and not is_union(value)


def is_union(names: Iterable[Any]) -> bool:
    """Say whether these are the members of a value of mixed type."""
    found = False
    for name in names:
        if type(name) is not str or not name.startswith(UNION):
            return False
        found = True
    return found


def settle(value: Any) -> Any:
    """Resolve mixed types and bytes of JSON in a raw value, and drop null and empty members."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is list and {*map(type, value)} <= _SCALARS:
        return value
    return _settle(value, set(), 0)


def _settle(value: Any, inside: set[int], depth: int) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return _decoded(bytes(value), inside, depth)
    if not isinstance(value, Mapping | list | tuple) or id(value) in inside:
        return value
    if depth > MOST_LEVELS:
        return json_safe(value, drop_nulls=True, depth=MAX_DEPTH)
    inside.add(id(value))
    try:
        if not isinstance(value, Mapping):
            return [_settle(member, inside, depth + 1) for member in value]
        settled = {key: _settle(member, inside, depth + 1) for key, member in value.items()}
        left = {key: member for key, member in settled.items() if not _vanishes(member)}
        if is_union(left) and len(left) == 1:
            return next(iter(left.values()))
        unset = not left and is_union(value) and all(one is None for one in settled.values())
        return None if unset else left
    finally:
        inside.discard(id(value))


def _vanishes(member: Any) -> bool:
    return member is None or (isinstance(member, Mapping) and not member)


def _decoded(content: bytes, inside: set[int], depth: int) -> Any:
    try:
        return _settle(decode_json(content.decode(), "bytes"), inside, depth)
    except ValueError:
        return content


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    """Give the JSON-safe values that a settled one is flattened into, each with its path."""
    waiting: list[tuple[Path, Any, tuple[int, ...]]] = [(path, value, ())]
    while waiting:
        at, found, above = waiting.pop()
        opened = isinstance(found, Mapping) and id(found) not in above
        if opened and (is_open(found) or at == (OWN_METADATA,)):
            inner = (*above, id(found))
            waiting.extend(((*at, key), member, inner) for key, member in text_keys(found))
            continue
        safe = json_safe(found, drop_nulls=True, depth=1)
        if type(safe) is dict and not opened and is_open(safe):  # an object of Python's
            waiting.extend(((*at, key), member, above) for key, member in safe.items())
        elif safe is not None and safe != {}:
            yield at, safe


def _by_length(leaf: tuple[Path, Any]) -> tuple[int, Path]:
    return len(leaf[0]), leaf[0]


def free_key(key: str, taken: Mapping[str, Any]) -> str:
    """Return the key that a flattened value gets in a row whose other keys are `taken`."""
    if key not in taken:
        return key
    name, number = f"{key} (nested)", 1
    while name in taken:
        number += 1
        name = f"{key} (nested {number})"
    return name
