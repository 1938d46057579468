"""Bytes from an address: what is sent where, and when a download ends."""

from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread
from typing import Any, TypeVar

import pytest
import requests
import urllib3

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

    def __init__(self, server: str, proxies: dict[str, str] | None = None) -> None:
        self.server = server
        self.proxies = proxies or {}
        self.elsewhere: list[bool] = []

    def send_beside(self, request: Callable[[], T], *, elsewhere: bool) -> T:
        self.elsewhere.append(elsewhere)
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


def test_session_is_told_whether_a_request_goes_to_another_host(server: StandInServer) -> None:
    address = server.sign_content("a", b"content")
    for host, elsewhere in ((server.url, False), ("https://api.wandb.ai", True)):
        session: Any = Session(server_of(host))
        with closing(FileBytes(session, 20)) as download:
            download.fetch(address, "", b"".join)
        assert session.elsewhere == [elsewhere]


class Proxy(BaseHTTPRequestHandler):
    """Answers whatever it is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.path} by proxy".encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def proxy() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_proxy_of_the_sdk_is_used_before_that_of_the_surroundings(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "storage.invalid")
    session: Any = Session("https://api.wandb.ai", {"http": proxy})
    with closing(FileBytes(session, 20)) as download:
        found = download.fetch("http://storage.invalid/a", "", b"".join)
    assert found == b"http://storage.invalid/a by proxy"


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


class Answers:
    """Answers in place of the network, and what was sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[str, bool]] = []
        self.location = ""
        monkeypatch.setattr(
            requests.adapters.HTTPAdapter, "send", lambda _, *args, **__: self(*args)
        )

    def __call__(self, request: requests.PreparedRequest, *_: Any) -> requests.Response:
        assert request.url is not None
        self.sent.append((request.url, "Authorization" in request.headers))
        answer = requests.Response()
        body = urllib3.HTTPResponse(BytesIO(b"a"), preload_content=False)
        answer.raw, answer.request, answer.url = body, request, request.url
        answer.status_code = 302 if self.location else 200
        if self.location:
            answer.headers["Location"] = self.location
        return answer


@pytest.mark.parametrize(
    ("address", "has_key"),
    [
        ("https://api.wandb.ai/x", True),
        ("https://wandb.ai:443/x", True),
        ("http://api.wandb.ai/x", False),
        ("https://api.wandb.ai:8443/x", False),
        ("https://first.example/x", False),
        ("https://first.example/@api.wandb.ai", False),
    ],
)
def test_key_goes_to_the_scheme_host_and_port_of_the_session(
    address: str, has_key: bool, make: Callable[..., FileBytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's API key was sent without encryption, or to another port of a host of the cloud."""
    answers = Answers(monkeypatch)
    assert make("https://api.wandb.ai").fetch("", address, b"".join) == b"a"
    assert answers.sent == [(address, has_key)]


@pytest.mark.parametrize(
    "address",
    [
        "https://first.example\\@api.wandb.ai/x",
        "https://first.example\t\\@api.wandb.ai/x",
        "https://user@api.wandb.ai/x",
        "https://api.wandb.ai:99999/x",
    ],
)
def test_address_that_is_read_in_two_ways_is_not_used(
    address: str, make: Callable[..., FileBytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's API key was sent to the first of the two hosts that such an address names."""
    answers = Answers(monkeypatch)
    with pytest.raises(SourceError, match="no address"):
        make("https://api.wandb.ai").fetch("", address, b"".join)
    answers.location = address
    with pytest.raises(SourceError, match="no web address"):
        make("https://api.wandb.ai").fetch("", "https://api.wandb.ai/x", b"".join)
    assert [url for url, _ in answers.sent] == ["https://api.wandb.ai/x"]


@pytest.mark.parametrize("location", ["http://[bad", "http://[::1", "//[", ""])
def test_redirect_that_does_not_parse_is_an_error_of_this_file(
    location: str, make: Callable[..., FileBytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files of a run were lost because of one redirect."""
    answers = Answers(monkeypatch)
    answers.location = location or "mailto:"
    with pytest.raises(SourceError, match="no web address"):
        make("https://api.wandb.ai").fetch("", "https://api.wandb.ai/x", b"".join)


def test_missing_certificates_are_no_error_of_the_disk(
    make: Callable[..., FileBytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A wrong REQUESTS_CA_BUNDLE was reported as a folder that cannot be used (exit 9)."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with pytest.raises(SourceError, match="certificate") as caught:
        make("https://api.wandb.ai").fetch("https://127.0.0.1:9/x", "", b"".join)
    assert not isinstance(caught.value, OSError | PassingError)


@pytest.mark.parametrize("host", ["*", ".example"])
def test_address_that_cannot_be_sent_is_not_tried_again(
    host: str, make: Callable[..., FileBytes]
) -> None:
    with pytest.raises(SourceError, match="cannot be used") as caught:
        make("https://api.wandb.ai").fetch(f"https://{host}/x", "", b"".join)
    assert not isinstance(caught.value, PassingError)
