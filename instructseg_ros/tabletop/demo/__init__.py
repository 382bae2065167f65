"""The demo: simulated camera, node, instructions of every category, and a report."""
