r"""Names of files as text that UTF-8 can hold.

Rules
- A lone surrogate, such as a disk's byte that is no UTF-8, is spelled as its escape: `\ud800`.
- Backslashes before a surrogate, and before text that looks like the end of such an escape, are
  doubled. So different names have different spellings, and a spelling gives its name back.
- Any other name is its own spelling.

Everything here is total and pure.
"""

import re

_ESCAPE = r"ud[89a-f][0-9a-f]{2}"
_IN_NAME = re.compile(rf"(?<!\\)(\\*)([\ud800-\udfff]|{_ESCAPE})")
_IN_SPELLING = re.compile(rf"(?<!\\)(\\*)({_ESCAPE})")


def spell_name(name: str) -> str:
    """Return the spelling of a name."""
    return _IN_NAME.sub(_spelled, name)


def name_spelled(spelling: str) -> str:
    """Return the name that has a spelling."""
    return _IN_SPELLING.sub(_named, spelling)


def _spelled(found: re.Match[str]) -> str:
    slashes, rest = found.groups()
    escaped: str = rest.encode("utf-8", "backslashreplace").decode()
    return 2 * slashes + escaped


def _named(found: re.Match[str]) -> str:
    slashes, escape = found.groups()
    half: str = slashes[: len(slashes) // 2]
    return half + (chr(int(escape[1:], 16)) if len(slashes) % 2 else escape)
