"""Run the README's example for DuckDB, in an environment with this tool and `.[duckdb]` alone.

The folder in which it runs has the demo, as the README makes it.
"""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
PRINTS = re.compile(r"```python\n([^`]*?open_duckdb.*?)```\n\nIt prints\n\n```text\n(.*?)```", re.S)


def main() -> None:
    """Compare what the example prints with what the README says."""
    assert not any(map(find_spec, ("polars", "pandas"))), "there are other readers here"
    [(code, printed)] = PRINTS.findall(README.read_text(encoding="utf-8"))
    done = subprocess.run([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode() == printed, done.stdout


if __name__ == "__main__":
    main()
