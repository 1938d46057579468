"""Find the fields of many protobuf messages at once.

Rules
- Nothing is taken for granted: a message that is not exactly of the expected form is marked
  `unfit`, and left to the protobuf library.
- Offsets are into a part of a file with room after it, so that eight bytes can be read at any
  offset.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dr_wandb.core.offline.framing import Bytes, Offsets

ROOM = 64
"""Bytes after a part that can be read and mean nothing."""

NUM, HISTORY, SUMMARY = 0x08, 0x12, 0x1A
"""Tags of fields of Record."""

ITEM, STEP, KEY, NESTED_KEY = 0x0A, 0x12, 0x0A, 0x12
"""Tags of fields of HistoryRecord (the items of SummaryRecord have the same one) and of Item."""

LENGTH_DELIMITED = 2
"""The wire type, in the lowest bits of a tag, of a field that is a message or text."""

VALUE_JSON, CONTROL, UUID, INFO = 0x0182, 0x0182, 0x019A, 0x0CC2
"""Tags of two bytes, as little-endian numbers: a field of Item, and others of Record."""

MOST_ITEMS = 500
"""Histories with more items are left to the protobuf library, which is faster for them."""

MOST_KEYS = 8
"""The most levels of nesting that a key may have."""

Flags = NDArray[np.bool_]


class Items(NamedTuple):
    """Items of many histories: indices of their owners, offsets of their keys and JSON texts."""

    owners: Offsets
    keys: Offsets
    key_ends: Offsets
    values: Offsets
    value_ends: Offsets


class Found(NamedTuple):
    """The items found in many histories or summaries, and which of these have more than the items.

    beside: the step that a history has beside its items, -1 for none.
    """

    items: Items
    unfit: Flags
    beside: Offsets


class Kinds(NamedTuple):
    """The kinds of many records: the tag and the offsets of the one field of each.

    `certain`: the record is its number, that field, and nothing else about a run; the tag is 0 if
    there is no such field.
    """

    tags: Offsets
    begins: Offsets
    stops: Offsets
    certain: Flags


def find_kinds(part: Bytes, starts: Offsets, ends: Offsets) -> Kinds:
    """Find the kind of each record."""
    at = starts.copy()
    going = part.take(at, mode="clip") == NUM
    at += going
    for _ in range(10):
        if not going.any():
            break
        byte = part.take(at, mode="clip")
        at += going
        going = going & (byte >= 0x80)
    at = _behind_others(part, at, ends)
    tags = _two_bytes(part, at)
    wide = tags & 0x80 > 0
    tags = np.where(wide, tags, tags & 0xFF)
    lengths, begins = _lengths(part, at + 1 + wide)
    stops = begins + lengths
    certain = ~going & (at < ends) & (tags & 7 == LENGTH_DELIMITED) & (tags & 0x8080 != 0x8080)
    certain &= (lengths >= 0) & (stops <= ends)
    certain &= _behind_others(part, np.where(certain, stops, ends), ends) == ends
    without = ~going & (at == ends)
    return Kinds(np.where(without, 0, tags), begins, stops, certain | without)


def _behind_others(part: Bytes, at: Offsets, ends: Offsets) -> Offsets:
    """Skip whole fields of a record that say nothing of a run."""
    for _ in range(3):
        tag = _two_bytes(part, at)
        other = ((tag == INFO) | (tag == CONTROL) | (tag == UUID)) & (at < ends)
        if not other.any():
            break
        lengths, begins = _lengths(part, at + 2)
        after = begins + lengths
        other &= (lengths >= 0) & (after <= ends)
        at = np.where(other, after, at)
    return at


def find_items(part: Bytes, begins: Offsets, stops: Offsets, *, has_step: bool) -> Found:
    """Find the items of histories or summaries.

    A found item has nested keys, or one key, and then its JSON text, and nothing else. has_step:
    they are histories, which may have a step beside their items.
    """
    unfit = np.zeros(len(begins), np.bool_)
    beside = np.full(len(begins), -1, np.int64)
    found: list[Items] = []
    owners = np.arange(len(begins), dtype=np.int64)
    at = begins
    while True:
        unfit[owners[at > stops]] = True
        owners, at, stops = _those(at < stops, owners, at, stops)
        if not len(owners):
            break
        if len(found) == MOST_ITEMS:
            unfit[owners] = True
            break
        tag = part.take(at, mode="clip")
        lengths, inside = _lengths(part, at + 1)
        after = inside + lengths
        items = tag == ITEM
        fit = (lengths >= 0) & (after <= stops)
        of_step = fit & (tag == STEP) if has_step else np.zeros_like(fit)
        fit &= items | of_step
        unfit[owners[~fit]] = True
        if of_step.any():
            owner = owners[of_step]
            unfit[owner[beside[owner] >= 0]] = True
            beside[owner] = _numbers(part, inside[of_step], after[of_step])
            unfit[owner[beside[owner] < 0]] = True
        owner, begin, end = _those(items & fit, owners, inside, after)
        keys_end = _after_keys(part, begin, end)
        value_lengths, value = _lengths(part, keys_end + 2)
        whole = (
            (keys_end > begin)
            & (_two_bytes(part, keys_end) == VALUE_JSON)
            & (value_lengths > 0)
            & (value + value_lengths == end)
        )
        unfit[owner[~whole]] = True
        found.append(Items(*_those(whole, owner, begin, keys_end, value, end)))
        owners, at, stops = _those(fit, owners, after, stops)
    columns = zip(*found, strict=True) if found else [[np.empty(0, np.int64)]] * 5
    beside[unfit] = -1
    return Found(Items(*map(np.concatenate, columns)), unfit, beside)


def _numbers(part: Bytes, begin: Offsets, end: Offsets) -> Offsets:
    """Return the numbers of steps, -1 for bytes that are not a step."""
    numbers, after = _lengths(part, begin + 1)
    written = (part.take(begin, mode="clip") == NUM) & (after == end)
    return np.where(begin == end, 0, np.where(written, numbers, -1))


def _those(which: Flags, *columns: Offsets) -> Sequence[Offsets]:
    """Return the chosen members of all columns; usually all are chosen, and nothing is copied."""
    return columns if which.all() else [column[which] for column in columns]


def _after_keys(part: Bytes, begin: Offsets, end: Offsets) -> Offsets:
    """Return the ends of the keys of items, nested ones or a single one; the begin if unsure."""
    at = begin
    for level in range(MOST_KEYS):
        tag = part.take(at, mode="clip")
        length = part.take(at + 1, mode="clip").astype(np.int64)
        key = (tag == NESTED_KEY) | ((tag == KEY) & (at == begin))
        more = key & (length < 0x80) & (at + 2 + length < end)
        if level:
            more &= part.take(begin, mode="clip") == NESTED_KEY
        if not more.any():
            break
        at = np.where(more, at + 2 + length, at)
    return at


def _two_bytes(part: Bytes, at: Offsets) -> Offsets:
    low = part.take(at, mode="clip").astype(np.int64)
    return low | (part.take(at + 1, mode="clip").astype(np.int64) << 8)


def _lengths(part: Bytes, at: Offsets) -> tuple[Offsets, Offsets]:
    """Return the lengths at these offsets, -1 if 2**28 or more, and the offsets after them."""
    length = part.take(at, mode="clip").astype(np.int64)
    after = at + 1
    for index in range(1, 4):
        more = length >> (7 * index) > 0
        if not more.any():
            return length, after
        byte = part.take(after, mode="clip").astype(np.int64)
        low = length & ((1 << (7 * index)) - 1)
        length = np.where(more, low | (byte << (7 * index)), length)
        after = after + more
    return np.where(length >> 28 > 0, -1, length), after
