"""Recording what a source says, and answering from it. `source.py` is the face."""
