"""Generates text answers to questions about an image."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, PhiForCausalLM

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.stage_outputs import VisualContext


class TextGenerator:
    """Runs a model's language model and its output head in transformers' generation loop."""

    def __init__(
        self, model: InstructSegModel, processor: InstructSegProcessor, head: torch.Tensor
    ) -> None:
        """Combine the language model used for segmentation with its output head.

        Args:
            model: The model, on its device.
            processor: The model's processor.
            head: (rows, D), one row for each token; any further rows are ignored.
        """
        self._model = model
        self._processor = processor
        words = processor.tokenizer
        self._phi = _with_head(model, head[: len(words)])
        self._end = int(words.convert_tokens_to_ids(words.eos_token))

    @torch.inference_mode()
    def generate(
        self,
        tokens: torch.Tensor,
        text: str,
        *,
        explain: bool = False,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> str:
        """Answer a question about an image, or explain what an instruction means in it.

        Args:
            tokens: (V, D) vision tokens of the image.
            text: Question; with `explain`, the instruction.
            explain: Generate the reasons for a segmentation, up to its [SEG].
            max_new_tokens: Maximum length of the answer; also bounded by the model's context.
            temperature: 0: always take the likeliest token; else the temperature of sampling.
            top_p: Sample only from the likeliest tokens that together have this probability.

        Raises:
            ValueError: The text leaves no room for an answer in the model's context, or a number
                is out of range.
        """
        embeddings = self._embeddings(tokens, text, explain=explain)
        room = self._phi.config.max_position_embeddings - embeddings.shape[1]
        if room < 1:
            raise ValueError(
                f'the text leaves no room for an answer: with the image, it takes '
                f'{embeddings.shape[1]} tokens of {self._phi.config.max_position_embeddings}. '
                f'Shorten it.'
            )
        settings = GenerationConfig(
            max_new_tokens=min(max_new_tokens, room),
            eos_token_id=[self._end, self._processor.seg_token_id],
            pad_token_id=self._end,
            **_sampling(temperature, top_p),
        )
        ids = self._phi.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], device=embeddings.device),
            generation_config=settings,
        )
        # The tokenizer does not treat [SEG], which ends an explanation, as a special token.
        words = ids[0][ids[0] != self._processor.seg_token_id]
        return str(self._processor.tokenizer.decode(words, skip_special_tokens=True)).strip()

    def _embeddings(self, tokens: torch.Tensor, text: str, *, explain: bool) -> torch.Tensor:
        prompt = self._processor.conversation(text, explain=explain).to(tokens.device)
        context = VisualContext(image_tokens=tokens[None], reference_tokens=None)
        if explain:
            context = self._model.perceive(tokens[None], None, prompt)
        prefix, rest = self._model.assemble(context, prompt)
        return torch.cat([prefix, rest[:, 0]], dim=1)


def _sampling(temperature: float, top_p: float) -> dict[str, Any]:
    if not (temperature >= 0 and 0 < top_p <= 1):
        raise ValueError(
            f'temperature must be at least 0 and top_p in 0..1, got {temperature} and {top_p}'
        )
    if temperature == 0:
        return {'do_sample': False}
    return {'do_sample': True, 'temperature': temperature, 'top_p': top_p, 'top_k': 0}


def _with_head(model: InstructSegModel, head: torch.Tensor) -> PhiForCausalLM:
    config = model.language_model.config
    with torch.device('meta'):
        phi = PhiForCausalLM(config)
        # Phi's head has a bias, InstructSeg's has none.
        phi.lm_head = nn.Linear(config.hidden_size, len(head), bias=False)
    phi.model = model.language_model
    embeddings = model.language_model.embed_tokens.weight
    phi.lm_head.weight = nn.Parameter(head.to(embeddings), requires_grad=False)
    return phi.eval()
