"""The subcommands of `instructseg`: each module adds its arguments with `add` and does the work."""
