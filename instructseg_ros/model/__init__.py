"""InstructSeg as a transformers model: configuration, stages, processor, checkpoints."""

from typing import Final

#: Number formats that a user can choose, explained by `precision.choose_precision`. Listed here
#: because commands and node parameters offer them without importing torch.
DTYPES: Final = ('auto', 'float32', 'bfloat16', 'float16', 'float16_weights', 'mixed', 'int8')
