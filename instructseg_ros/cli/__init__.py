"""The `instructseg` command: one module per group of subcommands."""
