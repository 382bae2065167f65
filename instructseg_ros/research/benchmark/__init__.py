"""Speed and memory of the model on this machine."""
