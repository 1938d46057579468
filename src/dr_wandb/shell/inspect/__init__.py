"""Looking at exports and at what they need, without changing anything."""
