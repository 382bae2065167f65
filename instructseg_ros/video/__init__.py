"""From video files, image folders and bags to masks: `instructseg video`."""
