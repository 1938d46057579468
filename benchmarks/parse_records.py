"""Parse the records of a `.wandb` file with wandb's own protobuf module, and do no more: FILE.

All payloads are in memory before the clock starts, so what is timed is `Record.FromString`. Then
it is done once more, and the keys and texts of all values are asked for: none of them is decoded.
"""

import json
import struct
import sys
import time
from pathlib import Path
from zlib import crc32

from wandb.proto.wandb_internal_pb2 import Record

FILE_HEADER_BYTES = 7
BLOCK_BYTES = 32 * 1024
CHUNK_HEADER = struct.Struct("<IHB")
FULL, LAST = 1, 4


def read_payloads(content: bytes) -> list[bytes]:
    """Return the records of a whole file as they are; end the process at the first wrong byte."""
    payloads, parts, at = [], [], FILE_HEADER_BYTES
    while at < len(content):
        room = BLOCK_BYTES - at % BLOCK_BYTES
        if room < CHUNK_HEADER.size:
            at += room
            continue
        checksum, size, kind = CHUNK_HEADER.unpack_from(content, at)
        at += CHUNK_HEADER.size
        piece = content[at : at + size]
        if crc32(piece, crc32(bytes([kind]))) != checksum:
            raise SystemExit(f"the chunk before byte {at} is damaged")
        at += size
        parts.append(piece)
        if kind in (FULL, LAST):
            payloads.append(b"".join(parts))
            parts = []
    return payloads


def main(path: Path) -> None:
    """Print how many records there are, how long parsing took, and with the reading of them."""
    payloads = read_payloads(path.read_bytes())
    parse = Record.FromString
    started = time.perf_counter()
    for payload in payloads:
        parse(payload)
    parsed = time.perf_counter()
    for payload in payloads:
        record = parse(payload)
        for item in record.history.item or record.summary.update:
            _ = item.nested_key[0] if item.nested_key else item.key, item.value_json
    read = time.perf_counter()
    times = {"seconds": parsed - started, "read_seconds": read - parsed}
    print(json.dumps({"records": len(payloads), **times}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
