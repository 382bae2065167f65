"""The simulated tabletop: its world, instructions, camera node, training, benchmark and demo."""

from instructseg_ros.research.data.dataset import register

register('tabletop', 'instructseg_ros.tabletop.dataset', 'make-sample')
