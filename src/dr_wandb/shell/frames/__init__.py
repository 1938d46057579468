"""An export as frames of pandas, Polars and Arrow, as views of DuckDB, and as other files."""
