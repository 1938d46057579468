"""Names of files for people, made of names that may be anything.

Rules
- Every name gets a relative path below one folder, by a rule that docs/sync.md gives.
- Of the paths of one folder no two are the same, and none is a folder of another one. This holds
  also on a disk that takes `A` and `a` for one name, or different spellings of one `ä`.
- A path has no part that leads elsewhere: none is empty, `.` or `..`. It has no character that
  cannot be printed, that steers a terminal, or that some system does not allow in a name.
- A name that can stay as it is does.

Everything here is total and pure.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count

MOST_BYTES_OF_PART = 200
MOST_BYTES_OF_PATH = 1000

_UNSAFE = frozenset('%\\:*?"<>|')


def safe_part(text: str) -> str:
    """Return a name of one file or folder: unsafe characters become `%XX` for each of their bytes.

    An empty one becomes `%`. One of more than 200 bytes is cut, and gets `~` and 16 hex digits of
    its SHA-256.
    """
    last = len(text) - 1
    spelled = "".join(
        letter if _is_safe(letter, at, last) else _escaped(letter) for at, letter in enumerate(text)
    )
    if not text.strip("."):
        spelled = text.replace(".", "%2E") or "%"
    encoded = spelled.encode()
    if len(encoded) > MOST_BYTES_OF_PART:
        cut = encoded[:MOST_BYTES_OF_PART].decode(errors="ignore")
        spelled = f"{cut}~{_digest(text)[:16]}"
    return spelled


def safe_path(name: str) -> str:
    """Return the path of a name in which slashes separate folders.

    One of more than 1,000 bytes is `long~` and 32 hex digits of the SHA-256 of the name.
    """
    path = "/".join(map(safe_part, name.split("/")))
    return path if len(path.encode()) <= MOST_BYTES_OF_PATH else f"long~{_digest(name)[:32]}"


def tree_of(names: Iterable[str]) -> dict[str, str]:
    """Return the path of each of some different names, all of one folder.

    A path stays if no other is the same but for the case of letters, and if it is no folder of
    another one. Else it gets `~` and 8 hex digits of the SHA-256 of its name, and then `~2`, `~3`
    and so on if that is still a path or a folder of another name. The order of names is irrelevant.
    """
    paths = {name: safe_path(name) for name in names}
    files = Counter(map(_folded, paths.values()))
    folders = {
        "/".join(parts[:depth])
        for parts in (folded.split("/") for folded in files)
        for depth in range(1, len(parts))
    }
    taken = folders.union(files)
    for name, path in sorted(paths.items()):
        folded = _folded(path)
        if files[folded] > 1 or folded in folders:
            paths[name] = next(one for one in _marked(name, path) if _folded(one) not in taken)
            taken.add(_folded(paths[name]))
    return paths


def _marked(name: str, path: str) -> Iterator[str]:
    marked = f"{path}~{_digest(name)[:8]}"
    yield marked
    yield from (f"{marked}~{number}" for number in count(2))


def _is_safe(letter: str, at: int, last: int) -> bool:
    if letter in _UNSAFE or not letter.isprintable():
        return False
    if letter == " ":
        return 0 < at < last
    return letter != "." or at < last or last == 0


def _escaped(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
