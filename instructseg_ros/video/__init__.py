"""From films, folders of frames and bags to masks of what was meant: `instructseg video`."""
