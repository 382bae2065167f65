"""ROS 2 nodes: wiring between topics, parameters, lifecycle and the engine."""
