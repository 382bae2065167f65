"""Everything that never runs on a robot: data sets, training, evaluation and benchmarks."""
