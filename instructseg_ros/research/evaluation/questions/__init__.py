"""Benchmarks whose answers are words."""
