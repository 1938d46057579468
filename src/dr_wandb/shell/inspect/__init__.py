"""Check exports and their requirements, without changing anything."""
