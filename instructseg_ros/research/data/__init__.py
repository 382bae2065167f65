"""Data sets of the paper and of users, all read as the same type of sample."""
