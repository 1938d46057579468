"""The decisions of a sync: what to ask for, read, believe and store."""
