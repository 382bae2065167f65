"""Instructions in natural language over scene graphs: texts with the things they mean."""

from instructseg_ros.tabletop.instructions.generate import (
    KINDS,
    TabletopInstruction,
    generate,
    new_words,
    vocabulary,
)
from instructseg_ros.tabletop.instructions.wording import Grounding

__all__ = ['KINDS', 'Grounding', 'TabletopInstruction', 'generate', 'new_words', 'vocabulary']
