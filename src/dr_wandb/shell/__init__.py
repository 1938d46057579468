"""Do all input and output, decide nothing: files, locks, threads, and the sources of runs."""
