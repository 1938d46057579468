"""What a request, a listing, a record and a state are, and how values are spelled."""
