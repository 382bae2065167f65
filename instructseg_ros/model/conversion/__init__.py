"""Checkpoints that others have published, in this package's layout."""
