"""The simulated tabletop: its world, instructions, camera node, training, benchmark and demo."""
