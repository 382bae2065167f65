"""Which instructions the demo gives, and what they mean in the frame that is answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instructseg_ros.demo.report import ABSENT
from instructseg_ros.simulation.instructions import TabletopInstruction, generate
from instructseg_ros.simulation.scene_graph import SceneGraph

#: Kinds of the instructions, in the order in which they are given.
KINDS = ('attribute', 'superlative', 'relation', 'plural', 'use', 'motion', ABSENT, 'attribute',
         'relation', 'motion')
FIRST_SCENE = 700_000


@dataclass(frozen=True, kw_only=True)
class Line:
    """One instruction of the script; the same seed gives the same words in a similar scene."""

    kind: str
    seed: int

    def instruction(self, graph: SceneGraph) -> TabletopInstruction | None:
        """Return the instruction over a scene, or None where the scene cannot give one."""
        rng = np.random.default_rng(self.seed)
        if self.kind == ABSENT:
            return generate(graph, rng, kind='attribute', absent=True)
        return generate(graph, rng, kind=self.kind)

    def targets(self, given: TabletopInstruction, graph: SceneGraph) -> frozenset[int]:
        """Return what the instruction means in a later frame of the scene it was given for.

        Where the scene has changed so much that the same seed gives other words, it is what was
        meant at first.
        """
        again = self.instruction(graph)
        return given.targets if again is None or again.text != given.text else again.targets
