"""The names of metrics' columns, in frames and in readers that fold the case of names.

Rules
- In a frame a metric has its own name, unless that is the name of a fixed column: then ` (metric)`
  follows. It depends on the metric alone.
- Readers such as DuckDB and Spark take `loss` and `Loss` for one name. There, each of several names
  that are alike is followed by 8 hex digits, the first ones of the SHA-256 of the metric. A name
  that is empty, very long or has signs that cannot be printed is shortened, and followed by them.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator

from dr_wandb.core.columnar.runs import MOST_LETTERS, folded
from dr_wandb.core.contract.wording import printable

FIXED_COLUMNS = ("run_id", "step", "timestamp")
"""The columns of a wide frame before those of the metrics."""

_LIKE_FIXED = re.compile(rf"(?:{'|'.join(FIXED_COLUMNS)})(?: \(metric\))*")


def column_name(key: str) -> str:
    """Return the name of a metric's column in a frame."""
    return f"{key} (metric)" if _LIKE_FIXED.fullmatch(key) else key


def folding_names(keys: Collection[str]) -> dict[str, str]:
    """Return names for the metrics of an export of which no two are alike, whatever the case."""
    fixed = {folded(name) for name in FIXED_COLUMNS}
    plain = {key: f"{key} (metric)" if folded(key) in fixed else key for key in sorted(keys)}
    alike = Counter(map(folded, plain.values()))
    names = {
        key: name for key, name in plain.items() if alike[folded(name)] == 1 and _is_usable(name)
    }
    taken = fixed | set(map(folded, names.values()))
    for key, name in plain.items():
        if key not in names:
            names[key] = next(one for one in _with_digits(key, name) if folded(one) not in taken)
            taken.add(folded(names[key]))
    return dict(sorted(names.items()))


def _is_usable(name: str) -> bool:
    return bool(name) and len(name) <= MOST_LETTERS and name.isprintable()


def _with_digits(key: str, name: str) -> Iterator[str]:
    digits = hashlib.sha256(key.encode()).hexdigest()
    shown = printable(name, MOST_LETTERS)
    yield f"{shown} ({digits[:8]})"
    while True:  # for who takes the trouble to log under such a name
        digits = hashlib.sha256(digits.encode()).hexdigest()
        yield f"{shown} ({digits})"
