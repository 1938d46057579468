"""Get the bytes of a file from its address, over HTTP.

Rules
- The API key goes to the W&B server of this session alone: to no other host, scheme or port, and
  to no address that a server redirects to. What counts is the address as it is sent. A signed
  address works without the key. Nothing of a `.netrc` file or of a cookie is sent.
- Addresses are what W&B says, so only `http` and `https` are followed, and few redirects; none that
  names a user, or that may be read in two ways.
- Each attempt takes its turn with the requests of the session, and is tried again like them. If
  another host refuses one (HTTP 429), requests to other hosts than W&B's wait, and no others.
- The proxies of the SDK's settings are used, else those of the surroundings (`HTTPS_PROXY`).
- A download ends if nothing comes for some time, or if it only trickles (`core.sync.deadline`).
- A body that is cut off is an error, if its length was announced or its chunks have no end.
- No address is in an error, which names the host.
"""

import http.cookiejar
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import urljoin

import requests
import urllib3

from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.deadline import begin_progress, note_bytes, reason_to_give_up
from dr_wandb.shell.sources import WORKERS, SourceError
from dr_wandb.shell.sources.api.addresses import host_of, is_plain, server_of
from dr_wandb.shell.sources.api.pacing import PassingError, ThrottledError
from dr_wandb.shell.sources.api.sdk_errors import PASSING_STATUS, THROTTLED_STATUS
from dr_wandb.shell.sources.api.session import ApiSession
from dr_wandb.shell.sources.contents import FileGoneError, Save

T = TypeVar("T")

CHUNK = 1 << 20

MOST_REDIRECTS = 5

EXPIRED_STATUS = frozenset({400, 401, 403})
"""How storages refuse an address whose time is over; 400 is S3's answer for an expired token."""

GONE_STATUS = frozenset({404, 410})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class ExpiredError(SourceError):
    """An address is refused: another one may work."""


class FileBytes:
    """Downloads of one session. Several threads may call it at once."""

    def __init__(
        self,
        session: ApiSession,
        timeout_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._timeout = timeout_seconds
        self._clock = clock
        self._closed = threading.Event()
        self._http = _HttpSession()
        self._proxies = session.proxies
        self._http.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        adapter = requests.adapters.HTTPAdapter(pool_connections=WORKERS, pool_maxsize=WORKERS)
        for scheme in ("https://", "http://"):
            self._http.mount(scheme, adapter)

    def close(self) -> None:
        """Close the connections."""
        self._closed.set()
        self._http.close()

    def fetch(self, direct: str, own: str, save: Save[T]) -> T:
        """Let `save` take the bytes at a signed address, else at W&B's own for the user.

        Raises SourceError; ExpiredError if the address is refused.
        """
        address = direct if is_plain(direct) else own
        if not is_plain(address):
            raise SourceError("W&B gives no address of its bytes", RunFailureKind.UNUSABLE_ANSWER)
        with_key = address == own and address != direct
        return self._session.send_beside(
            lambda: self._get(address, save, with_key=with_key),
            elsewhere=server_of(address) != self._session.server,
        )

    def _get(self, address: str, save: Save[T], *, with_key: bool) -> T:
        auth = _Key(self._session if with_key else None)
        for _ in range(MOST_REDIRECTS):
            try:
                response = self._http.get(
                    address,
                    headers={"Accept-Encoding": "identity"},
                    auth=auth,
                    timeout=self._timeout,
                    proxies=self._proxies,
                    stream=True,
                    allow_redirects=False,
                )
            except ValueError as error:  # such as requests' InvalidURL
                reason = f"the address at {host_of(address)} cannot be used"
                raise SourceError(reason, RunFailureKind.UNUSABLE_ANSWER) from error
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise _passing(address, error) from error
            except OSError as error:  # such as a file of certificates that is not there
                reason = f"{host_of(address)} cannot be reached: {error}"
                raise SourceError(reason, RunFailureKind.UNREACHABLE) from error
            with closing(response):
                if response.status_code not in REDIRECTS:
                    _require_served(address, response.status_code)
                    return save(self._chunks(address, response))
                target = _joined(address, response.headers.get("Location", ""))
            if not is_plain(target):
                break
            address, auth = target, _Key(None)
        reason = f"{host_of(address)} redirects too often, or to no web address"
        raise SourceError(reason, RunFailureKind.UNUSABLE_ANSWER)

    def _chunks(self, address: str, response: requests.Response) -> Iterator[bytes]:
        """Give the bytes of a body as they come; raise if it is not whole, or does not go on."""
        progress, received = begin_progress(self._clock()), 0
        read: Callable[..., bytes] = getattr(response.raw, "read1", response.raw.read)
        while True:
            try:
                chunk = read(CHUNK, decode_content=True)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _passing(address, error) from error
            if not chunk:
                return
            received += len(chunk)
            now = self._clock()
            progress = note_bytes(progress, received, now)
            reason = reason_to_give_up(progress, now, self._timeout)
            if reason is not None:
                raise PassingError(reason, RunFailureKind.TIMEOUT)
            if self._closed.is_set():
                ended = "the session has ended"
                raise SourceError(ended, RunFailureKind.INTERRUPTED, retryable=False)
            yield chunk


class _HttpSession(requests.Session):
    """Leaves redirects alone: `requests` would read their bodies, and parse their addresses."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that an answer is no redirect."""


class _Key(requests.auth.AuthBase):
    """Adds the API key of a session to what is sent to its server, and nothing to anything else.

    Without it `requests` would look into `.netrc`.
    """

    def __init__(self, session: ApiSession | None) -> None:
        self._session = session

    def __call__(self, request: Any) -> Any:
        session = self._session
        if session is None or server_of(request.url) != session.server:
            return request
        key = next(iter(session.secrets), None)
        return request if key is None else requests.auth.HTTPBasicAuth("api", key)(request)


def _joined(address: str, location: str) -> str:
    """Return the address that a redirect leads to, "" if that cannot be read."""
    try:
        return urljoin(address, location)
    except ValueError:
        return ""


def _require_served(address: str, status: int) -> None:
    """Raise the error for an answer that is not the file."""
    if status == requests.codes.ok:
        return
    reason = f"{host_of(address)} answered HTTP {status}"
    if status == THROTTLED_STATUS:
        raise ThrottledError(reason)
    if status in PASSING_STATUS:
        raise PassingError(reason, RunFailureKind.SERVER_ERROR, answered=True)
    if status in GONE_STATUS:
        raise FileGoneError(reason)
    if status in EXPIRED_STATUS:
        raise ExpiredError(reason, RunFailureKind.SERVER_ERROR, retryable=False, answered=True)
    raise SourceError(reason, RunFailureKind.SERVER_ERROR, answered=True)


def _passing(address: str, error: BaseException) -> PassingError:
    """Return the error for a connection that failed, without the address in its text."""
    late = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError)
    kind = RunFailureKind.TIMEOUT if late else RunFailureKind.UNREACHABLE
    what = "did not answer in time" if late else "ended the connection, or cannot be reached"
    return PassingError(f"{host_of(address)} {what} ({type(error).__name__})", kind)
