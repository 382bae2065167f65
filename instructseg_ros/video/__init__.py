"""Segments video files, image folders and bags: `instructseg video`."""
