"""Trains the parser of instructions for a model, and writes parser.safetensors into its folder.

Usage: python scripts/train_instruction_parser.py MODEL [STEPS]

MODEL  Folder of an embedded model whose words are those of the tabletop's instructions.
STEPS  Number of training steps, by default 4000 (a quarter of an hour on one core).
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from tqdm import trange

from instructseg_ros.model.checkpoints import load_model
from instructseg_ros.model.instruction_parser import MEANINGS, SLOTS, ParserNetwork, WordReader
from instructseg_ros.model.instruction_reader import InstructionReader
from instructseg_ros.model.model_files import NOUNS, PARSER_WEIGHTS, write_manifest
from instructseg_ros.model.noun_finder import NounFinder
from instructseg_ros.tabletop.instructions.tagged import SentenceWriter, TaggedSentence
from instructseg_ros.tabletop.instructions.wording import PARAPHRASES

STEPS: Final = 4000
BATCH: Final = 96
LEARNING_RATE: Final = 2e-3
WARMUP: Final = 100
UNNAMED: Final = 0.5  # share of nouns that are shown as unknown ones
DROPPED: Final = 0.02  # share of other words that are shown as unknown ones
PADDING: Final = -100


def main() -> None:
    """Train on the wordings of the training, and test on those held out of it."""
    folder, steps = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else STEPS
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model, processor = load_model(folder)
    names = [noun for noun in json.loads((folder / NOUNS).read_text()) if noun.isalpha()]
    finder = NounFinder.from_folder(folder, torch.device('cpu'))
    reader = InstructionReader(processor, finder).words()
    trained = len(processor.tokenizer.all_special_tokens) + processor.config.trained_words
    network = ParserNetwork(model.get_input_embeddings().weight, trained)
    train(network, reader, SentenceWriter(names, rng), rng, steps)
    print_accuracy(network, reader, SentenceWriter(names, rng, held_out=True))
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / PARSER_WEIGHTS)
    (folder / PARSER_WEIGHTS).chmod(0o644)
    write_manifest(folder)


def train(
    network: ParserNetwork,
    reader: WordReader,
    writer: SentenceWriter,
    rng: np.random.Generator,
    steps: int,
) -> None:
    """Train the network."""
    optimizer = torch.optim.AdamW(
        network.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, max(0.02, 1 - step / steps))
    )
    for _ in trange(steps):
        sentences = [writer.draw() for _ in range(BATCH)]
        ids, kinds, lengths = network_input(sentences, reader, rng)
        meanings, slots = network(ids, kinds, lengths)
        true_meanings, true_slots = truth(sentences)
        loss = functional.cross_entropy(meanings, true_meanings, label_smoothing=0.03)
        loss = loss + functional.cross_entropy(
            slots.transpose(1, 2), true_slots, ignore_index=PADDING
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def network_input(
    sentences: Sequence[TaggedSentence], reader: WordReader, rng: np.random.Generator | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the network's input; with `rng`, some words are shown as unknown ones."""
    lengths = [len(one.words) for one in sentences]
    ids, kinds = np.zeros((2, len(sentences), max(lengths)), np.int64)
    for row, one in enumerate(sentences):
        ids[row, : len(one.words)], kinds[row, : len(one.words)] = reader.read(one.words)
    if rng is not None:
        share = np.where(kinds == 1, UNNAMED, DROPPED)
        ids[(ids > 0) & (rng.random(ids.shape) < share)] = reader.unknown
    return torch.from_numpy(ids), torch.from_numpy(kinds), torch.tensor(lengths)


def truth(sentences: Sequence[TaggedSentence]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the (B,) meanings and the (B, R) slots of the words."""
    meanings = torch.tensor([[*MEANINGS].index(one.meaning) for one in sentences])
    slots = [torch.tensor([SLOTS.index(slot) for slot in one.slots]) for one in sentences]
    return meanings, nn.utils.rnn.pad_sequence(slots, batch_first=True, padding_value=PADDING)


@torch.inference_mode()
def print_accuracy(network: ParserNetwork, reader: WordReader, writer: SentenceWriter) -> None:
    """Print how many paraphrases held out of training are parsed right, by meaning."""
    network.eval()
    right: dict[str, list[tuple[bool, bool, bool]]] = defaultdict(list)
    for meaning, words in PARAPHRASES.items():
        sentences = [writer.filled(meaning, text) for text in words.held_out]
        found, slots = network(*network_input(sentences, reader, None))
        true_meanings, true_slots = truth(sentences)
        agree = (slots.argmax(-1) == true_slots) | (true_slots == PADDING)
        sure = found.softmax(-1).amax(-1) > 0.9
        is_right = found.argmax(-1) == true_meanings
        right[re.sub(' of two$', '', meaning)] += zip(
            is_right.tolist(), (is_right & agree.all(-1)).tolist(), sure.tolist(), strict=True
        )
    right['all'] = [row for rows in right.values() for row in rows]
    for meaning, rows in right.items():
        table = np.array(rows)
        sure_right = table[table[:, 2], 0].mean() if table[:, 2].any() else float('nan')
        print(
            f'{meaning:18} meaning {table[:, 0].mean():.2f}  and slots {table[:, 1].mean():.2f}  '
            f'sure {table[:, 2].mean():.2f}, of these right {sure_right:.2f}  ({len(table)})'
        )


if __name__ == '__main__':
    main()
