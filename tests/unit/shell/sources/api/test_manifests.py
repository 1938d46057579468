"""Manifests from their addresses: what is requested, how often, and what is left behind."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, ClassVar, TypeVar

import pytest

from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.shell.background import DaemonThreads
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api import manifests
from dr_wandb.shell.sources.api.file_bytes import FileBytes
from dr_wandb.shell.sources.api.manifests import Manifests, PageOfManifests
from tests.support.server import Drop, Redirect, StandInServer, Status
from tests.support.server.artifacts import digest_of, entry

T = TypeVar("T")

CONTENTS = {"a": entry("x")}
MANIFEST = json.dumps({"version": 1, "contents": CONTENTS}).encode()


class Session:
    """A session that sends each request once."""

    secrets = ("key",)
    server = ""
    proxies: ClassVar[Mapping[str, str]] = {}

    def send_beside(self, request: Callable[[], T], *, elsewhere: bool) -> T:
        return request()


class World:
    """A server, and the means to read the manifests of versions from it.

    content: what is downloaded, after the first time as `later` says.
    """

    def __init__(self, server: StandInServer, private: Path) -> None:
        self.server = server
        self.private = private
        session: Any = Session()
        session.server = server.url
        self.download = FileBytes(session, 20)
        self.content = self.later = MANIFEST
        self.addresses_asked = 0
        self.threads = DaemonThreads(2)

    @property
    def downloads(self) -> int:
        return len(self.server.requests_of("download"))

    def ask(self, _alias: str, _document: Any, asked: Sequence[Any], *_: Any) -> list[Any]:
        """Answer as `JointQueries.ask` does."""
        self.addresses_asked += 1
        content, self.content = self.content, self.later
        url = self.server.sign_content("wandb_manifest.json", content)
        return [{"currentManifest": {"file": {"directUrl": url}}} for _ in asked]

    def start(self, files: ExitStack, **fields: Any) -> PageOfManifests:
        queries: Any = self
        made = Manifests(queries, self.download, self.private)
        version = {"id": "V", "digest": digest_of(CONTENTS, "MD5"), **fields}
        return made.start([version], self.threads, files)

    def read(self, **fields: Any) -> tuple[bytes | None, RunFailure | None]:
        with ExitStack() as files, self.start(files, **fields) as page:
            found, unread = page.result()
            return (found["V"].whole if "V" in found else None), unread.get("V")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with StandInServer() as server:
        made = World(server, tmp_path)
        yield made
        made.threads.shutdown(wait=True)
        made.download.close()
    assert [*tmp_path.iterdir()] == []


def test_key_is_not_sent_with_the_request_for_a_manifest(world: World) -> None:
    with StandInServer() as other:
        address = f"{other.url}/files/a/b"
        world.server.faults.add("download", Redirect(address), times=1)
        assert world.read()[0] is not None
        asked = [*world.server.requests_of("download"), *other.requests]
        assert [one.has_key for one in asked] == [False, False, False]


def test_failure_that_the_session_has_tried_again_is_final(world: World) -> None:
    """A throttled manifest was tried for a quarter of an hour, and then for another one."""
    for fault in (Status(429), Status(503), Status(404), Drop()):
        world.server.faults.add("download", fault, times=1)
        content, why = world.read()
        assert content is None
        assert why is not None
    assert (world.addresses_asked, world.downloads) == (4, 4)


def test_address_that_is_refused_is_requested_once_more(world: World) -> None:
    world.server.faults.add("download", Status(403), times=1)
    assert world.read()[0] is not None
    assert (world.addresses_asked, world.downloads) == (2, 2)
    world.server.faults.add("download", Status(403), times=2)
    content, why = world.read()
    assert content is None
    assert why is not None
    assert why.kind is RunFailureKind.SERVER_ERROR
    assert (world.addresses_asked, world.downloads) == (4, 4)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"contents": {"a": {"digest": "y"}}}', RunFailureKind.UNUSABLE_ANSWER),
        (b'{"contents": {"a": ', RunFailureKind.UNREADABLE),
        (b"[]", RunFailureKind.UNREADABLE),
    ],
)
def test_manifest_that_is_not_that_of_the_version_is_downloaded_once_more(
    world: World, content: bytes, kind: RunFailureKind
) -> None:
    world.content = content
    assert world.read()[0] is not None
    world.content = world.later = content
    came, why = world.read()
    assert came is None
    assert why is not None
    assert why.kind is kind
    assert (world.addresses_asked, world.downloads) == (4, 4)


def test_manifest_that_cannot_be_checked_is_not_downloaded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was downloaded twice in every sync, although no download can help."""
    monkeypatch.setattr(manifests, "find_hashes", dict)
    content, why = world.read(digestAlgorithm="MANIFEST_XXH128")
    assert content is None
    assert why is not None
    assert why.reason == "its manifest cannot be checked: the package xxhash is not installed"
    assert world.downloads == 0


@pytest.mark.parametrize("status", [200, 403])
def test_thread_that_outlives_the_listing_requests_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Its file was closed, which counted as an unusable manifest: it was downloaded again."""
    page: Future[PageOfManifests] = Future()
    fetch = FileBytes.fetch

    def close_before(self: FileBytes, direct: str, own: str, save: Callable[..., T]) -> T:
        page.result().__exit__()
        return fetch(self, direct, own, save)

    monkeypatch.setattr(FileBytes, "fetch", close_before)
    if status != 200:
        world.server.faults.add("download", Status(status))
    with ExitStack() as files:
        page.set_result(world.start(files))
        found, unread = page.result().result()
    assert found == {}
    kind = RunFailureKind.INTERRUPTED if status == 200 else RunFailureKind.SERVER_ERROR
    assert unread["V"].kind is kind
    assert (world.addresses_asked, world.downloads) == (1, 1)


def test_page_that_nobody_waits_for_leaves_no_file_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[IO[bytes]] = []

    def make(**where: Any) -> IO[bytes]:
        opened.append(TemporaryFile(**where))  # noqa: SIM115 - the page closes it
        return opened[-1]

    monkeypatch.setattr(manifests, "TemporaryFile", make)
    with ExitStack() as files:
        world.start(files)
    world.threads.shutdown()
    with ExitStack() as files, pytest.raises(RuntimeError, match="after a shutdown"):
        world.start(files)
    assert [one.closed for one in opened] == [True, True]


def test_addresses_that_do_not_come_fail_their_versions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> list[Any]:
        raise SourceError("no", RunFailureKind.REFUSED)

    monkeypatch.setattr(world, "ask", refuse)
    _, why = world.read()
    assert why is not None
    assert why.kind is RunFailureKind.REFUSED
    monkeypatch.setattr(world, "ask", lambda *_: [None])
    _, why = world.read()
    assert why is not None
    assert why.reason == "W&B gives no manifest of this version"
