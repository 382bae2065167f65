"""Training of InstructSeg models."""
