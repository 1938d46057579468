"""Runs from `.wandb` files, without a network. Start reading at `source.py`."""
