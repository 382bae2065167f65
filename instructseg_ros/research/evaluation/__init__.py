"""Measures how well a model follows instructions."""
