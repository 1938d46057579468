"""Hold the rows of a run as cells, one for each value, in columns; and the files that hold them."""
