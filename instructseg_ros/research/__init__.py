"""What a robot never runs: data sets, training, evaluation and benchmarks."""
