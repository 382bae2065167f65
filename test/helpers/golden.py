"""The authors' recorded cases: where they are, their model in our layout, what goes in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from case_folders import case_folders
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.conversion.released import convert_weights
from instructseg_ros.model.conversion.released_layout import describe
from instructseg_ros.model.conversion.tensors import TensorFolder
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.prompt_builder import PromptRow, join_rows
from instructseg_ros.model.stage_outputs import Prompt
from instructseg_ros.model.tasks import IMAGE, IMAGE_ID, REFER, SEG, SEG_ID, TEMPORAL, TEMPORAL_ID

SHIPPED = Path(__file__).resolve().parents[1] / 'data' / 'golden'
FOLDERS = case_folders(SHIPPED, 'INSTRUCTSEG_GOLDEN_DIR')
WEIGHTS = 'weights.safetensors'
REFER_ID = -204  # in the authors' ids only: ours hold the instruction itself

# The content of the tiny model's config.json.
CONFIG: dict[str, Any] = {
    'hidden_size': 80,
    'intermediate_size': 160,
    'num_hidden_layers': 2,
    'num_attention_heads': 4,
    'partial_rotary_factor': 0.4,
    'rope_theta': 10000.0,
    'hidden_act': 'gelu_new',
    'layer_norm_eps': 1e-5,
    'max_position_embeddings': 2048,
    'vision_config': {
        'vision_tower': {
            'hidden_size': 48,
            'intermediate_size': 96,
            'num_hidden_layers': 3,
            'num_attention_heads': 4,
            'image_size': 60,
            'patch_size': 14,
            'hidden_act': 'gelu_pytorch_tanh',
            'layer_norm_eps': 1e-6,
            'mm_vision_select_layer': -2,
        }
    },
}


def cases(*folders: Path) -> list[Path]:
    """Files of the recorded cases of some folders, each beside the weights that it was run with."""
    weights = [file for folder in folders for file in sorted(folder.rglob(WEIGHTS))]
    beside = (case for file in weights for case in sorted(file.parent.glob('*.safetensors')))
    return [case for case in beside if case.name != WEIGHTS]


def is_training(case: Path) -> bool:
    """Whether a case recorded losses."""
    with safe_open(case, 'pt') as opened:
        return any(name.startswith('loss.') for name in opened.keys())  # noqa: SIM118


def golden_model(source: Path, folder: Path) -> InstructSegModel:
    """The authors' weights of a folder of cases, converted into an empty folder and loaded."""
    tensors = TensorFolder(source, [WEIGHTS])
    convert_weights(tensors, folder, describe(CONFIG, tensors.shapes))
    return InstructSegModel.from_pretrained(folder, local_files_only=True).eval()


def head(source: Path) -> torch.Tensor:
    """(rows, D) of the authors' language model, of a folder of cases."""
    return load_file(source / WEIGHTS)['lm_head.weight']


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Arguments of `InstructSegModel.forward`."""

    pixel_values: torch.Tensor
    vision_values: torch.Tensor
    prompt: Prompt
    reference_values: torch.Tensor | None


def read_case(file: Path, config: InstructSegConfig) -> tuple[Inputs, dict[str, torch.Tensor]]:
    """Inputs and all tensors of a case."""
    case = load_file(file)
    frames = case['in.images_clip']
    references = frames[:, 1:] if frames.dim() == 5 and frames.shape[1] > 1 else None
    key = frames[:, 0] if frames.dim() == 5 else frames
    inputs = Inputs(
        pixel_values=case['in.images'].flatten(0, -4),
        vision_values=key,
        prompt=_prompt(case, config, 1 if references is None else references.shape[1]),
        reference_values=references,
    )
    return inputs, case


def _prompt(case: dict[str, torch.Tensor], config: InstructSegConfig, frames: int) -> Prompt:
    rows = [_row(case, index, config, frames) for index in range(len(case['in.input_ids']))]
    prompt = join_rows(rows, instructions=1)
    return dataclasses.replace(prompt, prefix_length=0, start_ids=())


def _row(
    case: dict[str, torch.Tensor], index: int, config: InstructSegConfig, frames: int
) -> PromptRow:
    several = f'in.token_refer_id.b{index}'
    instruction = case[several if several in case else 'in.token_refer_id'].tolist()
    places = {
        -200: (IMAGE, [IMAGE_ID] * config.image_tokens),
        -201: (SEG, [SEG_ID] * config.num_queries),
        REFER_ID: (REFER, instruction),
        -205: (TEMPORAL, [TEMPORAL_ID] * (frames * config.num_latents)),
    }
    row = PromptRow()
    for token in case['in.input_ids'][index].tolist():
        piece, ids = places.get(token, ('', [token]))
        row.add(ids, piece)
    return row


@contextmanager
def recorded(model: InstructSegModel) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Collect what the parts of a model give while it runs, under the authors' names."""
    parts: dict[str, nn.Module] = {
        'siglip.features': model.vision_tower,
        'projector.out': model.projector,
        'ovp.out': model.perceiver,
        'decoder.seg_query_in': model.seg_query_projector,
        'cond.origin_pooled_proj': model.text_fusion.pooled_projector,
        'vmtf.local_vision_map': model.text_fusion.local_project,
        'vmtf.text_latents_in': model.text_fusion.text_projector,
        'vmtf.out': model.text_fusion.resampler,
        'cond.SEG_embedding': model.text_fusion,
    }
    outputs: dict[str, list[torch.Tensor]] = {name: [] for name in parts}
    outputs |= {
        name: []
        for name in (
            'mm.inputs_embeds',
            'llm.last_hidden_state',
            'swin',
            'cond.concat_before_projector',
        )
    }
    hooks = [
        part.register_forward_hook(lambda _m, _i, out, name=name: outputs[name].append(out))
        for name, part in parts.items()
    ]

    language = model.language_model
    hooks.append(
        language.layers[0].register_forward_pre_hook(
            lambda _m, inputs: outputs['mm.inputs_embeds'].append(inputs[0])
        )
    )
    hooks.append(
        language.final_layernorm.register_forward_hook(
            lambda _m, _i, out: outputs['llm.last_hidden_state'].append(out)
        )
    )
    hooks.append(
        model.text_fusion.condition_projector.register_forward_pre_hook(
            lambda _m, inputs: outputs['cond.concat_before_projector'].append(inputs[0])
        )
    )
    hooks.append(
        model.pixel_branch.backbone.register_forward_hook(
            lambda _m, _i, out: outputs['swin'].extend(out.feature_maps)
        )
    )
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
