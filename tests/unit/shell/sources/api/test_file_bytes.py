"""Bytes from an address: what is sent where, and when a download ends."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.addresses import server_of
from dr_wandb.shell.sources.api.file_bytes import FileBytes
from dr_wandb.shell.sources.api.pacing import PassingError, ThrottledError
from tests.support.server import Hang, Redirect, StandInServer, Status, Trickle

T = TypeVar("T")


class Session:
    """The part of a session that downloads need: it sends each request once."""

    secrets = ("key",)

    def __init__(self, server: str) -> None:
        self.server = server

    def send_beside(self, request: Callable[[], T]) -> T:
        return request()


@pytest.fixture
def server() -> Iterator[StandInServer]:
    with StandInServer() as server:
        yield server


@pytest.fixture
def make() -> Iterator[Callable[..., FileBytes]]:
    made: list[FileBytes] = []

    def build(server: str, timeout: float = 20) -> FileBytes:
        session: Any = Session(server_of(server))
        made.append(FileBytes(session, timeout))
        return made[-1]

    yield build
    for one in made:
        one.close()


def test_signed_address_is_used_without_a_key(
    server: StandInServer, make: Callable[..., FileBytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", "/dev/null")
    address = server.sign_content("a", b"content")
    assert make(server.url).fetch(address, server.url, b"".join) == b"content"
    assert make(server.url).fetch("", address, b"".join) == b"content"
    assert make("https://api.wandb.ai").fetch("", address, b"".join) == b"content"
    assert [one.has_key for one in server.requests] == [False, True, False]


def test_netrc_sends_no_password(
    server: StandInServer,
    make: Callable[..., FileBytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    make(server.url).fetch(server.sign_content("a", b""), "", b"".join)
    assert [one.has_key for one in server.requests] == [False]


@pytest.mark.parametrize(
    "address", ["", "file:///etc/passwd", "ftp://host/x", "//host/x", "http://", "http://[bad"]
)
def test_only_web_addresses_are_followed(
    address: str, server: StandInServer, make: Callable[..., FileBytes]
) -> None:
    with pytest.raises(SourceError, match="no address"):
        make(server.url).fetch(address, address, b"".join)


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Status(429), ThrottledError), (Status(503), PassingError), (Status(418), SourceError)],
)
def test_refusals_say_whether_waiting_helps(
    fault: Any, error: type[Exception], server: StandInServer, make: Callable[..., FileBytes]
) -> None:
    server.faults.add("download", fault)
    with pytest.raises(error) as caught:
        make(server.url).fetch(server.sign_content("a", b"a"), "", b"".join)
    assert type(caught.value) is error
    assert "Signature" not in str(caught.value)


@pytest.mark.parametrize("fault", [Trickle(0.001), Hang(0.5)])
def test_download_without_progress_ends(
    fault: Any, server: StandInServer, make: Callable[..., FileBytes]
) -> None:
    server.faults.add("download", fault)
    with pytest.raises(PassingError) as caught:
        make(server.url, timeout=0.05).fetch(server.sign_content("a", b"a"), "", b"".join)
    assert caught.value.failure.kind == RunFailureKind.TIMEOUT


def test_endless_redirects_end(server: StandInServer, make: Callable[..., FileBytes]) -> None:
    address = server.sign_content("a", b"a")
    server.faults.add("download", Redirect(address), times=None)
    with pytest.raises(SourceError, match="redirects too often"):
        make(server.url).fetch(address, "", b"".join)
