"""One run of the stand-in server."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from tests.support.server.history import HistoryIndex, KeyCounts, Rows, splice, step_of
from tests.support.server.parquet import ParquetFile, encode_parquet, split_columns, split_rows
from tests.support.server.world import AUTO, Heartbeat, Marker, instant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from tests.support.server.artifacts import Version
    from tests.support.server.model import Project

SECONDS_PER_ROW = 1.5
DEFAULT_USER = {"name": "Ada", "username": "ada"}


class Run:
    """One run. All attributes may be changed at any time.

    config: plain values; answered as {key: {"value": ..., "desc": null}} together with
    `config_internal` under `_wandb`. `config_json` and `summary_json` replace the whole text.
    history_keys, parquet_history: AUTO, or what is answered instead (None is null).
    line_count_offset is added to historyLineCount; last_step_override replaces lastStep.
    live_from is the position of the first row that is not exported, served_from of the first
    row that `history` answers. is_null: a page of runs has null in its place. live_item makes an
    item of `liveData` from the members of a row that were asked for. Numbers count runs as they
    were created. most_samples is the most samples in an answer; raw_events is answered in place of
    them, events_line_count in place of their number. console_page is the most lines in an answer;
    log_line_count is answered in place of their number. A line that is None is a null node.
    file_facts: what a listing says of a file in place of what is right, such as its `md5`.
    file_status: the HTTP status of its bytes. null_files are null nodes of a listing. file_count is
    answered in place of the number of files.
    """

    NO_STEP: Final = Marker.NO_STEP
    NO_TIMESTAMP: Final = Marker.NO_TIMESTAMP

    def __init__(
        self,
        project: Project,
        run_id: str,
        *,
        created_at: str | None = None,
        state: str = "running",
        config: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        user: Mapping[str, Any] | Marker | None = AUTO,
        display_name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        notes: str | None = None,
        description: str | None = None,
        sweep_name: str | None = None,
        commit: str | None = None,
        storage_id: str | None = None,
        heartbeat_at: str | None = None,
        host: str | None = None,
    ) -> None:
        self.project = project
        self.outputs: list[Version | None] = []
        self.inputs: list[tuple[Version, str | None] | None] = []
        self.links_beyond = 0
        self.world = project.world
        self.run_id = run_id
        self.created_at = created_at or self.world.clock.text
        self._heartbeat = Heartbeat(self.world.clock, heartbeat_at or self.created_at)
        self.updated_at: str | None = None
        self.state = state
        self.config: dict[str, Any] = dict(config or {})
        self.config_internal: dict[str, Any] | None = None
        self.config_json: str | None = None
        self.summary: dict[str, Any] = dict(summary or {})
        self.summary_json: str | None = None
        self.summary_follows_log = False
        self.system_metrics: dict[str, Any] = {}
        self.tags = list(tags)
        if isinstance(user, Marker):
            user = DEFAULT_USER
        self.user: dict[str, Any] | None = None if user is None else dict(user)
        self.display_name = display_name or run_id
        self.group, self.job_type, self.notes = group, job_type, notes
        self.description, self.sweep_name, self.commit = description, sweep_name, commit
        self.host, self.read_only = host, False
        self.is_null = False
        self.number = self.world.next_number()
        path = f"Run:v1:{run_id}:{project.name}:{project.entity}".encode()
        self.storage_id = storage_id or base64.b64encode(path).decode()

        self._rows = Rows()
        self._logged_count = 0
        self.index = HistoryIndex()
        self.key_counts = KeyCounts()
        self.events: list[dict[str, Any]] = []
        self.events_line_count: int | None = None
        self.most_samples: int | None = None
        self.raw_events: list[str | None] | None = None
        self.exported_events: list[ParquetFile] = []
        self.console: list[dict[str, Any] | None] = []
        self.console_page = 10_000
        self.log_line_count: int | None = None
        self.history_keys: dict[str, Any] | Marker | None = AUTO
        self.parquet_history: dict[str, Any] | Marker | None = AUTO
        self.line_count_offset = 0
        self.last_step_override: int | None = None
        self.exports: list[ParquetFile] = []
        self.live_from = 0
        self.served_from = 0
        self.live_item: Callable[[dict[str, Any]], Any] | None = None
        self.metadata: dict[str, Any] | None = None
        self.metadata_status = 200
        self.files: dict[str, bytes] = {}
        self._md5s: dict[str, tuple[bytes, str]] = {}
        self.file_facts: dict[str, dict[str, Any]] = {}
        self.file_status: dict[str, int] = {}
        self.null_files: set[str] = set()
        self.file_count: int | None = None

    def __repr__(self) -> str:
        return f"<stand-in run {self.project.entity}/{self.project.name}/{self.run_id}>"

    @property
    def rows(self) -> Rows:
        """All rows in the order logged. Call touch() after changing a dict inside."""
        return self._rows

    @rows.setter
    def rows(self, rows: Iterable[dict[str, Any]]) -> None:
        epoch = self._rows.epoch
        self._rows = Rows(rows)
        self._rows.epoch = epoch + 1

    def touch(self) -> None:
        """Forget cached encodings, after a row was changed in place."""
        with self.world.lock:
            self._rows.epoch += 1
            self.index.spelled.clear()

    def log(
        self,
        metrics: Mapping[str, Any] | None = None,
        step: float | Marker | None = None,
        timestamp: float | Marker | None = None,
        raw: str | Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Append one row and return it.

        step: None counts on from the highest step. timestamp: None is created_at plus 1.5 s for
        each row ever logged, so rows after a rewind are newer. raw: JSON text per metric, or of
        the whole row (then nothing is added to it), answered for the live row exactly as spelled.
        Members of `metrics` named _step, _timestamp or _runtime win.
        """
        with self.world.lock:
            if isinstance(raw, str):
                row: dict[str, Any] = json.loads(raw)
                self.index.spelled[id(row)] = (row, raw)
            else:
                row = self._full_row(metrics or {}, step, timestamp)
                if raw:
                    row.update({key: json.loads(text) for key, text in raw.items()})
                    self.index.spelled[id(row)] = (row, splice(row, raw))
            self._rows.append(row)
            self._logged_count += 1
            self._heartbeat.touch(row.get("_timestamp"))
            if self.summary_follows_log:
                self.summary.update(row)
            return row

    def log_all(self, many: Iterable[Mapping[str, Any]]) -> None:
        """Append one row for each mapping."""
        with self.world.lock:
            for metrics in many:
                self.log(metrics)

    def _full_row(
        self,
        metrics: Mapping[str, Any],
        step: float | Marker | None,
        timestamp: float | Marker | None,
    ) -> dict[str, Any]:
        row: dict[str, Any] = {}
        if step is None:
            row["_step"] = self.next_step
        elif not isinstance(step, Marker):
            row["_step"] = step
        if not isinstance(timestamp, Marker):
            started = instant(self.created_at).timestamp()
            if timestamp is None:
                timestamp = started + SECONDS_PER_ROW * self._logged_count
            row["_timestamp"] = timestamp
            row["_runtime"] = timestamp - started
        row.update(metrics)
        return row

    @property
    def next_step(self) -> int:
        """The step after the highest one."""
        return int(self.last_step) + 1

    @property
    def last_step(self) -> float:
        """The highest step, -1 without rows."""
        return self._rows.last_step()

    @property
    def heartbeat_at(self) -> str:
        """The latest of: what was set, the clock at the last change, the time of the last row."""
        return self._heartbeat.text

    @heartbeat_at.setter
    def heartbeat_at(self, text: str) -> None:
        self._heartbeat.text = text

    def log_system(self, metrics: Mapping[str, Any]) -> None:
        """Append one row of system metrics, served by `events`."""
        with self.world.lock:
            self.events.append(dict(metrics))
            self.system_metrics = dict(metrics)

    def export_events(self, files: int = 1, *, keep: int | None = None) -> None:
        """Write the samples as Parquet files of the artifact of the run, the first `keep` of them.

        They have no runtime, as W&B's.
        """
        with self.world.lock:
            rows = [
                {name: value for name, value in row.items() if name not in ("_runtime", "_wandb")}
                for row in self.events[:keep]
            ]
            self.exported_events = [
                encode_parquet(f"{index:04d}.parquet", part)
                for index, part in enumerate(split_rows(rows, files))
            ]

    def put_file(self, name: str, content: bytes, **facts: Any) -> None:
        """Upload a file, or another version of it; facts: as in `file_facts`."""
        with self.world.lock:
            self.files[name] = content
            self.file_facts[name] = {"updatedAt": self.world.clock.text, **facts}
            self.updated_at = self.world.clock.text

    def md5_of(self, name: str, content: bytes) -> str:
        """Return the MD5 of a file in base64, computed once for each version of it."""
        known = self._md5s.get(name)
        if known is None or known[0] is not content:
            known = (content, base64.b64encode(hashlib.md5(content).digest()).decode())
            self._md5s[name] = known
        return known[1]

    def write_line(
        self, content: str, *, error: bool = False, label: str = "", **members: Any
    ) -> dict[str, Any]:
        """Append one line of the console; members: of its node, such as `number`."""
        with self.world.lock:
            second, rest = divmod(len(self.console), 1000)
            line = {
                "number": len(self.console),
                "timestamp": f"2026-01-01T00:{second // 60:02}:{second % 60:02}.{rest:03}000",
                "level": "error" if error else "",
                "label": label,
                "line": content,
            }
            line.update(members)
            self.console.append(line)
            self._heartbeat.touch()
            return line

    def rewrite_line(self, position: int, content: str) -> None:
        """Change the content of a line, as a progress bar does."""
        with self.world.lock:
            self.console[position] = {**(self.console[position] or {}), "line": content}
            self._heartbeat.touch()

    def finish(self, state: str = "finished") -> None:
        """End the run; the heartbeat moves to the clock if that is later."""
        with self.world.lock:
            self.state = state
            self._heartbeat.touch()

    def resume(self) -> None:
        """Make the run `running` again."""
        self.finish("running")

    def rewind(self, to_step: float) -> None:
        """Drop rows with a higher step; exported files go, what is left is live."""
        with self.world.lock:
            self.rows = [row for row in self._rows if step_of(row) <= to_step]
            self.drop_exports()
            self._heartbeat.touch()

    def drop_exports(self) -> None:
        """Forget the Parquet files: every row is live."""
        with self.world.lock:
            self.exports, self.live_from, self.served_from = [], 0, 0

    def export_parquet(
        self,
        files: int = 1,
        upto: int | None = None,
        overlap: int = 0,
        drop_live: bool = True,
        float32: Collection[str] = (),
        file_order: Sequence[int] | None = None,
        by_columns: bool = False,
        double_steps: bool = False,
        as_json: Collection[str] = (),
    ) -> None:
        """Write rows[:upto] as Parquet files, in place of those written before.

        Rows from upto - overlap on stay live. With drop_live=False `history` goes on answering
        all rows, as a server does for clients that know no Parquet, while `liveData` lists only
        the live ones. file_order: positions of the files in the order in which URLs are listed.
        by_columns: each file has all of the steps and some of the columns, as files have that are
        not compacted yet. double_steps, as_json: see encode_parquet.
        """
        with self.world.lock:
            end = len(self._rows) if upto is None else min(upto, len(self._rows))
            split = split_columns if by_columns else split_rows
            written = [
                encode_parquet(
                    f"{index:04d}.parquet",
                    part,
                    float32,
                    double_steps=double_steps,
                    as_json=as_json,
                )
                for index, part in enumerate(split(self._rows[:end], files))
            ]
            self.exports = [written[index] for index in file_order] if file_order else written
            self.live_from = max(end - overlap, 0)
            self.served_from = self.live_from if drop_live else 0
