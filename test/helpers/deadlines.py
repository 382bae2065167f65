"""How long tests wait for what a machine under load may take long to do."""

PROCESS_TIMEOUT = 900  # s, for a process that imports torch and trains or evaluates a tiny model
