"""Locates masked objects in space from depth and calibration; depends on numpy alone."""
