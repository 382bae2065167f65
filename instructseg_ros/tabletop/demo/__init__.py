"""The demo: a simulated camera, the node, instructions of every category, and the figures."""
