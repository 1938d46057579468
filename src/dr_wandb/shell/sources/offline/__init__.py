"""Runs from `.wandb` files, without a network. `source.py` is the face."""
