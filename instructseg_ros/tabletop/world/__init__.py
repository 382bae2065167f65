"""A tabletop seen by a simulated RGB-D camera, with exact masks and a scene graph."""
