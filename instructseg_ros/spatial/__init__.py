"""Where masked things are in space, from depth and calibration; numpy alone."""
