"""Trials of a running node: hostile input, long runs, and what transport costs."""
