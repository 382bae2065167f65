"""Data sets of the paper, and of users, in one sample type."""
