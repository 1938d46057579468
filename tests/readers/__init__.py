"""Exports as Parquet, in the programs that read them."""
