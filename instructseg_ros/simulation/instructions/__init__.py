"""Instructions in natural language over scene graphs: texts with the things they mean."""

from instructseg_ros.simulation.instructions.generate import (
    KINDS,
    TabletopInstruction,
    generate,
    new_words,
    vocabulary,
)
from instructseg_ros.simulation.instructions.phrase import Grounding

__all__ = ['KINDS', 'Grounding', 'TabletopInstruction', 'generate', 'new_words', 'vocabulary']
