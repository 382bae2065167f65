"""The engine, which turns newest frames and active instructions into `Segmentation` values."""
