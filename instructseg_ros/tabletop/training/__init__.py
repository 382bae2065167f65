"""Training of the embedded model on the simulated tabletop, from nothing, in stages."""
