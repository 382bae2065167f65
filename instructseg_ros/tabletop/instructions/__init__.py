"""Instructions in natural language about scene graphs: texts with the objects they mean."""

from instructseg_ros.tabletop.instructions.generate import (
    INSTRUCTION_CATEGORIES,
    TabletopInstruction,
    composed_words,
    generate,
    look_alikes,
    new_words,
    object_nouns,
    synonyms,
    vocabulary,
)
from instructseg_ros.tabletop.instructions.wording import Grounding

__all__ = [
    'INSTRUCTION_CATEGORIES',
    'Grounding',
    'TabletopInstruction',
    'composed_words',
    'generate',
    'look_alikes',
    'new_words',
    'object_nouns',
    'synonyms',
    'vocabulary',
]
