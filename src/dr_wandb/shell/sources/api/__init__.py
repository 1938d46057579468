"""Runs from W&B, through the real SDK. `source.py` is the face."""
