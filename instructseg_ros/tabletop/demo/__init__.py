"""`make demo`: a simulated camera, the node, instructions of every kind, and how well they did."""
