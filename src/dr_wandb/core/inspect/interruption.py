"""What is said of a sync that was interrupted: what is kept, and how to go on."""

from dr_wandb.core.contract.amounts import kept_in_words


def describe_interruption(
    name: str, *, first: bool, done: bool, commit: bool, parts: int, part_bytes: int, command: str
) -> str:
    """Describe in lines of text what an interrupted sync of an export has left.

    first: no sync has completed yet. done: this one had. commit: its new files are complete, and
    not all in place. parts: of runs, fetched into files of `part_bytes` bytes. command: goes on
    with it, "" for the same command.
    """
    if done and not commit:
        return f"interrupted after the sync of {name} was complete"
    again = f"to go on, run: {command}" if command else "to go on, run the same command again"
    if commit:
        return (
            f"interrupted while the new files of {name} were put in place: they are saved, and "
            f"the next sync finishes this first\n{again}"
        )
    unchanged = f"no sync of {name} has completed yet" if first else f"{name} is as it was before"
    if not parts:
        return f"interrupted before any rows were fetched: nothing changed, {unchanged}\n{again}"
    fetched = kept_in_words(parts, part_bytes)
    return (
        f"interrupted; {unchanged}\nkept: {fetched}; the next sync uses them unless W&B lists "
        f"something else by then\n{again}"
    )
