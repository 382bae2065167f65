from __future__ import annotations

import torch

from instructseg_ros.model.embedded import MASK_SIZE, embedded_config, processor_for
from instructseg_ros.model.modeling import InstructSegModel


def test_the_embedded_model_fits_its_place_in_the_package() -> None:
    with torch.device('meta'):
        model = InstructSegModel(embedded_config(400))
    tensors = model.state_dict().values()
    assert sum(x.numel() * x.element_size() for x in tensors) < 40e6


def test_processor_and_configuration_agree() -> None:
    config = embedded_config(7)
    processor = processor_for(config, ['a', 'b', 'c', 'd'])
    assert len(processor.tokenizer) == config.text_config.vocab_size
    assert processor.config.mask_size == MASK_SIZE
    assert processor.config.vision_size == config.vision_config.image_size
    assert processor.config.image_tokens == config.image_tokens == 256
    assert processor.config.num_queries == config.num_queries


def test_prompts_of_the_longest_instructions_fit_its_positions() -> None:
    config = embedded_config(4)
    prompt = processor_for(config, ['a']).prompt([['a ' * 200]])
    assert prompt.input_ids.shape[-1] <= config.text_config.max_position_embeddings
