"""Published benchmarks and training sets: one module each, from reader to submission file."""
