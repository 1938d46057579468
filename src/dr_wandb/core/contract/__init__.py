"""Define requests, listings, records and states, and how values are spelled."""
