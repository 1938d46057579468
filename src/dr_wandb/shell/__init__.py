"""Touch the world, decide nothing: files, locks, threads, and the sources that runs come from."""
