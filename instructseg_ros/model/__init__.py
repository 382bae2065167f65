"""InstructSeg as a transformers model: configuration, stages, processor, checkpoints."""
