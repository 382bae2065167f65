"""InstructSeg as a transformers model: configuration, stages, processor, checkpoints."""

from typing import Final

# Listed here because commands and node parameters offer them without importing torch.

#: Number formats that a user can choose, explained by `precision.choose_precision`.
DTYPES: Final = ('auto', 'float32', 'bfloat16', 'float16', 'float16_weights', 'mixed', 'int8')
#: What can run the encoders of frames, explained by `openvino_runtime.uses_openvino`.
RUNTIMES: Final = ('auto', 'torch', 'openvino')
