"""What a sync decides: what to ask for, what to read, what to believe, what is stored."""
