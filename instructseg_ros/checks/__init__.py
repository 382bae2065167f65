"""Checks of a running node: long runs and the cost of transport."""
