"""Checks of a node on this machine: long runs under load, and the cost of image transport."""
