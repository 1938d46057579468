"""Numbers and sizes in words, for messages and failures."""


def count(number: int, noun: str) -> str:
    """Say a number of things, as in `1 run` and `1,980 runs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size_in_words(size: int) -> str:
    """Say a number of bytes, as in `812 bytes` and `1.5 MB` (a million and a half)."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{size} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def kept_in_words(parts: int, size: int) -> str:
    """Say how much was fetched, as in `3 parts (1.5 MB)`; `nothing` for none."""
    return f"{count(parts, 'part')} ({size_in_words(size)})" if parts else "nothing"
