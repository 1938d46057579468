"""The header of a `.wandb` file, which identifies the format and its version."""

HEADER = b":W&B\xe1\xbe\x00"
"""The first seven bytes of a file: a name, a number and the version of the format."""

Buffer = bytes | memoryview


def header_problem(data: Buffer) -> str | None:
    """Say why the first bytes of a file are not those of a `.wandb` file, None if they are."""
    head = bytes(data[: len(HEADER)])
    if not head:
        return "is empty"
    if head == HEADER:
        return None
    if HEADER.startswith(head):
        return f"ends within its header of {len(HEADER)} bytes"
    if is_of_another_version(head):
        return f"is a .wandb file of version {head[-1]}: this tool reads version {HEADER[-1]} only"
    return "is not a .wandb file"


def is_of_another_version(data: Buffer) -> bool:
    """Say whether these first bytes are those of a `.wandb` file of another version."""
    head = bytes(data[: len(HEADER)])
    return len(head) == len(HEADER) and head[:-1] == HEADER[:-1] and head != HEADER
