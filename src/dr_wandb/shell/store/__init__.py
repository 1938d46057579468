"""An export on disk: read, write, lock, commit. Nothing here knows W&B."""
