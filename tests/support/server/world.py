"""What all parts of the stand-in share: its clock, its lock, its counter, its markers."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Any, Final

LATEST_EPOCH_SECONDS = 4_000_000_000


class Marker(Enum):
    """Values that stand for behaviour rather than data."""

    AUTO = "computed by the server"
    NO_STEP = "the row has no step"
    NO_TIMESTAMP = "the row has no timestamp"


AUTO: Final = Marker.AUTO


class FakeClock:
    """The server's time, moved only by tests."""

    def __init__(self, now: str = "2026-01-01T00:00:00") -> None:
        self.set(now)

    def set(self, now: str) -> None:
        """Move to an ISO 8601 time; without a zone it is UTC."""
        self.now = instant(now)

    @property
    def now(self) -> datetime:
        """The time, with its zone."""
        return self._now

    @now.setter
    def now(self, now: datetime) -> None:
        self._now = now
        self.epoch_seconds = now.timestamp()

    def advance(self, seconds: float) -> None:
        """Move by seconds."""
        self.now += timedelta(seconds=seconds)

    @property
    def text(self) -> str:
        """The time as W&B spells it: UTC, whole seconds, no zone."""
        return spell_time(self.now)


def with_zone(text: str) -> str:
    """Return a time with a `Z` if it has no zone."""
    return text if datetime.fromisoformat(text).tzinfo else f"{text}Z"


class Heartbeat:
    """When a run last gave a sign; it never goes back by itself."""

    def __init__(self, clock: FakeClock, text: str) -> None:
        self._clock = clock
        self._text = text
        self._reached: float | None = None

    @property
    def text(self) -> str:
        """The time as W&B spells it, or as it was set."""
        if self._reached is not None:
            reached = datetime.fromtimestamp(int(self._reached), UTC)
            self._reached = None
            if reached > instant(self._text):
                self._text = spell_time(reached)
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        self._text = text
        self._reached = None

    def touch(self, timestamp: Any = None) -> None:
        """Move to the clock, or to a timestamp in epoch seconds if that is later and sensible."""
        now = self._clock.epoch_seconds
        if isinstance(timestamp, int | float) and now < timestamp < LATEST_EPOCH_SECONDS:
            now = timestamp
        if self._reached is None or now > self._reached:
            self._reached = now


class World:
    """What all projects of one server share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clock = FakeClock()
        self.created_count = 0

    def next_number(self) -> int:
        """Number everything that is created, from 1."""
        with self.lock:
            self.created_count += 1
            return self.created_count


@lru_cache(maxsize=4096)
def instant(text: str) -> datetime:
    """Read an ISO 8601 time; one without a zone is UTC."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def spell_time(moment: datetime) -> str:
    """Spell a time as W&B does: UTC, whole seconds, no zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
