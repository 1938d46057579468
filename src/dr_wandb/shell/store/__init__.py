"""An export on disk: read, write, lock, commit. Nothing here depends on W&B."""
