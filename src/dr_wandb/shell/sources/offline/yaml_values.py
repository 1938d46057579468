"""Read YAML of unknown origin, as plain values.

Rules
- Tags create no objects: a tagged value is the text, list or mapping that it is written as.
- An alias stands for a value that is written elsewhere, so a small file may be a huge value, or
  one that contains itself. Such a file is refused before its whole value is read.
- Deep nesting is refused too; libyaml reads 1,000 levels, which is more than Python's stack holds.
- So are very long integers: Python has no limit for hexadecimal and similar ones.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from dr_wandb.core.contract.values import MAX_DIGITS

MOST_LEVELS = 200
"""At most this many levels of nesting, as written."""

MOST_VALUES = 1 << 20
"""At most this many values; each alias counts as the values that it stands for."""


_OF_ODD_SCALARS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Errors that PyYAML raises for a text that its tag does not allow, such as `!!bool maybe`."""


def yaml_members(content: bytes, name: str) -> Mapping[str, Any]:
    """Return the members of a YAML mapping. Raises ValueError that begins with `name`."""
    import yaml

    try:
        value = yaml.load(content, Loader=_loader())
    except (yaml.YAMLError, *_OF_ODD_SCALARS) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name} is not valid YAML: {reason}") from None
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is not a mapping")
    if _count(value, {}, name, 0) > MOST_VALUES:
        raise ValueError(f"{name} stands for more than {MOST_VALUES} values, or for itself")
    return value


def _count(value: Any, known: dict[int, int], name: str, levels: int) -> int:
    """Count the values in a value; more than `MOST_VALUES` if it contains itself."""
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if levels > MOST_LEVELS:
        raise ValueError(f"{name} is nested too deeply to read")
    if id(value) not in known:
        known[id(value)] = MOST_VALUES + 1  # in case it contains itself
        members = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(member, known, name, levels + 1) for member in members)
    return known[id(value)]


@cache
def _loader() -> Any:
    """Return the safe loader of libyaml, which makes plain values of tagged ones."""
    import yaml

    safe_loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # if there is no libyaml

    class PlainLoader(safe_loader):  # type: ignore[misc]
        """Makes plain values of those with an unknown tag."""

    def plain(loader: Any, _: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    def integer(loader: Any, node: Any) -> Any:
        if len(loader.construct_scalar(node)) > MAX_DIGITS:
            raise ValueError(f"an integer has more than {MAX_DIGITS} digits")
        return loader.construct_yaml_int(node)

    PlainLoader.add_multi_constructor("", plain)
    PlainLoader.add_constructor("tag:yaml.org,2002:int", integer)
    return PlainLoader
