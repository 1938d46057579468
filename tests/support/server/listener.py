"""Listen on loopback for the stand-in server."""

from __future__ import annotations

import socket
import sys
import threading
import traceback
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.server.stand_in import StandInServer


class Server(ThreadingHTTPServer):
    """One thread per connection; threads die with the process."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, owner: StandInServer) -> None:
        super().__init__(("127.0.0.1", 0), owner.handler)
        self.owner = owner
        self.connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | ValueError | OSError):
            self.owner.errors.append(traceback.format_exc())


class Listener:
    """The listening socket and its thread."""

    def __init__(self, owner: StandInServer) -> None:
        self._server = Server(owner)
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Close the listening socket and all connections."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        for connection in list(self._server.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
