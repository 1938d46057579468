"""Do what no exporter can do without: REPLAY URL API_KEY BYTES FILE.

Asks the server again what was asked, with plain HTTP over eight connections and without looking at
the answers; then writes a file of so many bytes and fsyncs it. Nothing but the standard library.
"""

import base64
import http.client
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 8
CHUNK = 1 << 20


def fetch(exchanges: list[list[str]], url: str, api_key: str) -> int:
    """Send requests over one connection, one after the other; return the bytes that came."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    credentials = base64.b64encode(f"api:{api_key}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
    arrived = 0
    for method, path, body in exchanges:
        connection.request(method, path, body.encode() or None, headers if body else {})
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise SystemExit(f"{method} {path} answered {answer.status}")
        while chunk := answer.read(CHUNK):
            arrived += len(chunk)
    connection.close()
    return arrived


def write(path: Path, size: int) -> None:
    """Write a file of so many bytes, and wait until the disk has it."""
    chunk = os.urandom(CHUNK)
    with path.open("wb") as stream:
        for start in range(0, size, CHUNK):
            stream.write(chunk[: size - start])
        stream.flush()
        os.fsync(stream.fileno())


def main(replay: Path, url: str, api_key: str, size: int, target: Path) -> None:
    """Print how long each part took."""
    exchanges = json.loads(replay.read_text())
    shares = [exchanges[at::CONNECTIONS] for at in range(CONNECTIONS)]
    started = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        arrived = sum(pool.map(lambda share: fetch(share, url, api_key), filter(None, shares)))
    fetched = time.perf_counter()
    write(target, size)
    written = time.perf_counter()
    told = {"fetch_seconds": fetched - started, "write_seconds": written - fetched}
    print(json.dumps({**told, "bytes_fetched": arrived}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), Path(sys.argv[5]))
