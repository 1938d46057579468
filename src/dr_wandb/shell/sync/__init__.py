"""One sync: `engine.py` is its table of contents."""
