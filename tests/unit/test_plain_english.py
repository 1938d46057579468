"""The source, the documents and the README keep to plain words, but for a handful by name."""

from collections import Counter

from tools.plain_english import find_words

ALLOWED = {
    ("src/dr_wandb/cli/export.py", "where"): 1,
    ("src/dr_wandb/core/contract/values.py", "where"): 1,
    ("src/dr_wandb/core/offline/reading.py", "where"): 1,
    ("src/dr_wandb/shell/frames/sql.py", "where"): 4,
    ("src/dr_wandb/shell/sources/api/run_pages.py", "where"): 1,
    ("src/dr_wandb/shell/sources/offline/index.py", "where"): 1,
    ("src/dr_wandb/shell/sources/api/run_pages.py", "left out|leaves? out|leaving out"): 2,
}
"""A location, a word of SQL, and what the module `left_out` decides."""


def test_words_to_avoid_are_a_handful_each_allowed_by_name() -> None:
    found = list(find_words())
    counted = Counter((one.file, one.word) for one in found)
    report = [f"{one.file}:{one.line}: {one.text}" for one in found]
    assert counted == ALLOWED, report
