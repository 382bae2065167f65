"""Writes instructions for the rendered scenes of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from tqdm import trange

from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.simulation.instructions import KINDS, TabletopInstruction, generate
from instructseg_ros.training.tabletop.scenes import MAX_WORDS, SceneStore

if TYPE_CHECKING:
    from instructseg_ros.simulation.scene_graph import SceneGraph

GROUPS: Final = ('attribute', 'superlative', 'relation', 'motion')
_ABSENT_SHARE = 0.2
# Shares of the kinds of instruction; motion where something moves, and where nothing does.
_SHARES = np.array([0.26, 0.17, 0.23, 0.11, 0.13])
_MOTION_SHARE, _STILL_MOTION_SHARE = 0.25, 0.03


def write_instructions(store: SceneStore, processor: InstructSegProcessor, *, seed: int) -> None:
    """Give every scene its instructions, once; a marker file says that it is done."""
    marker = store.folder / 'instructions.done'
    if marker.exists():
        return
    for index in trange(store.shape.scenes, desc='instructions'):
        rng = np.random.default_rng((seed, index))
        graph = store.read_graph(index)
        for number in range(store.shape.instructions):
            _write(store, processor, index, number, draw_instruction(graph, rng), graph)
    marker.touch()


def draw_instruction(
    graph: SceneGraph, rng: np.random.Generator, *, held_out: bool = False
) -> TabletopInstruction:
    """An instruction of a random kind that the scene can give; one in five is absent."""
    absent = bool(rng.random() < _ABSENT_SHARE)
    moving = any(thing.motion for thing in graph)
    weights = np.append(_SHARES, _MOTION_SHARE if moving else _STILL_MOTION_SHARE)
    for kind in rng.choice(len(KINDS), size=64, p=weights / weights.sum()):
        instruction = generate(graph, rng, kind=KINDS[kind], absent=absent, held_out=held_out)
        if instruction is not None:
            return instruction
    raise ValueError('the scene gives no instruction of any kind')


def _write(
    store: SceneStore,
    processor: InstructSegProcessor,
    index: int,
    number: int,
    instruction: TabletopInstruction,
    graph: SceneGraph,
) -> None:
    slot_of = {thing.label: slot for slot, thing in enumerate(graph)}
    encoded = processor.tokenizer(
        instruction.text, add_special_tokens=False, return_offsets_mapping=True
    )
    words = [*encoded['input_ids'], processor.seg_token_id][:MAX_WORDS]
    store.words[index, number] = 0
    store.groups[index, number] = 0
    store.pointed[index, number] = 0
    store.words[index, number, : len(words)] = words
    store.kinds[index, number] = KINDS.index(instruction.kind)
    roles = (instruction.targets, instruction.anchors, instruction.candidates)
    store.roles[index, number] = [sum(1 << slot_of[k] for k in role) for role in roles]
    for grounding in instruction.groundings:
        for position, (start, end) in enumerate(encoded['offset_mapping'][:MAX_WORDS]):
            if start < grounding.end and end > grounding.start:
                store.groups[index, number, position] = GROUPS.index(grounding.group) + 1
                for label, weight in grounding.weights.items():
                    store.pointed[index, number, position, slot_of[label]] = round(255 * weight)
