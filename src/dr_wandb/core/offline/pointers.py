"""Say why the content of a run is not in its `.wandb` file, and how to get it.

Rules
- A run whose content is elsewhere, or packed, exists but cannot be read: it fails. Damage inside a
  file is handled by framing.py.
- Each reason says what to do. Nothing is fetched, followed or unpacked here.
"""

from collections.abc import Mapping

from dr_wandb.core.offline.header import header_problem, is_of_another_version

_BEGINNINGS: Mapping[bytes, str] = {
    b"version https://git-lfs.github.com/spec/": "a pointer of git-lfs: get it with `git lfs pull`",
    b"version https://hawser.github.com/spec/": "a pointer of git-lfs: get it with `git lfs pull`",
    b"/annex/objects/": "a pointer of git-annex: get it with `git annex get`",
    b"\x00GITCRYPT\x00": "encrypted by git-crypt: unlock it with `git-crypt unlock`",
    b"\x1f\x8b": "compressed with gzip: unpack it",
    b"BZh": "compressed with bzip2: unpack it",
    b"\xfd7zXZ\x00": "compressed with xz: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it",
    b"PK\x03\x04": "a zip archive: unpack it",
}
"""The first bytes of a file that replaces a `.wandb` file, and a description of it."""

_ANNEXED = ".git/annex/objects/"

_LINKS: Mapping[str, str] = {
    _ANNEXED: "a link of git-annex: get the file with `git annex get`",
    ".dvc/cache/": "a link into the cache of DVC: get the file with `dvc pull`",
}
"""Parts of the target of a broken link, and a description of the link."""

STAND_INS: Mapping[str, str] = {
    "dvc": "a pointer of DVC: get the file with `dvc pull`",
    "gz": "compressed with gzip: unpack it",
    "bz2": "compressed with bzip2: unpack it",
    "xz": "compressed with xz: unpack it",
    "zst": "compressed with zstd: unpack it",
    "zip": "a zip archive: unpack it",
}
"""Describes a file `run-<id>.wandb.<suffix>` by its suffix, if there is no `run-<id>.wandb`."""


HEAD_BYTES = 256
"""The first bytes of a file that identify it."""


def out_of_reach(head: bytes) -> str | None:
    """Say by its first bytes why a file does not have its content; None if it does.

    A file of a version newer than this tool counts as one without its content.
    """
    for beginning, what in _BEGINNINGS.items():
        if head.startswith(beginning):
            return f"is {what}"
    if head.startswith((b"../", b".git/")) and _ANNEXED.encode() in head:
        return f"is {_LINKS[_ANNEXED]}"  # a file system without links keeps them as text
    return header_problem(head) if is_of_another_version(head) else None


def dead_link(target: str) -> str:
    """Describe a link whose target does not exist."""
    for part, what in _LINKS.items():
        if part in target:
            return f"is {what}"
    return f"is a link to {target}, which does not exist: restore it, or delete the link"
