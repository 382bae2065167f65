"""Training of the embedded model on the simulated tabletop, in stages."""
