"""Record the answers of a source, and replay them. Start reading at `source.py`."""
