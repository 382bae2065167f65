"""The engine: newest frames and live instructions in, `Segmentation` values out."""
