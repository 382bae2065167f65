"""Reads the text of a query: spelling, the noun for photographs, plain words, simpler queries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import torch

from instructseg_ros.model.composition_reader import CompositionReader
from instructseg_ros.model.instruction_parser import InstructionParser, WordReader
from instructseg_ros.model.noun_finder import NounFinder
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.query import Query
from instructseg_ros.model.taught_finder import EVERY_OBJECT

_MOST_SPLITS: Final = 2  # the parts of an instruction may have parts


class InstructionReader:
    """Fills in how the texts of queries are read.

    Args:
        processor: Processor of the model.
        finder: Knows the nouns of photographs; None if the model has no `NounFinder`.
    """

    def __init__(self, processor: InstructSegProcessor, finder: NounFinder | None) -> None:
        self._processor = processor
        self._finder = finder
        self._compositions: CompositionReader | None = None
        if finder is not None or processor.config.nouns:
            self._compositions = CompositionReader(self._is_noun, self._is_taught)
        self._parser: InstructionParser | None = None

    def words(self) -> WordReader:
        """Return the reader of words for an `InstructionParser`; the model must know nouns."""
        assert self._compositions is not None
        return WordReader.from_tokenizer(self._processor.tokenizer, self._compositions.is_object)

    def load_parser(self, folder: Path, embeddings: torch.Tensor) -> None:
        """Load the parser of a model, if it has one; see `InstructionParser.from_folder`."""
        if self._compositions is not None:
            self._parser = InstructionParser.from_folder(folder, embeddings, self.words())

    def read(self, query: Query, splits: int = _MOST_SPLITS) -> None:
        """Fill in how a query's text is read; split it, and its parts, at most `splits` times."""
        text, processor = query.text, self._processor
        known, unknown = self._known_and_unknown(text)
        if not query.verbatim:
            text, query.repaired = processor.repair_spelling(text, unknown)
            if query.repaired:
                known, unknown = self._known_and_unknown(text)
            text = processor.wording(text, query.task)
        query.known = bool(known)
        query.unknown = tuple(dict.fromkeys(unknown))
        query.noun = self._finder.read(text) if self._finder else None
        if self._compositions and splits and not query.verbatim:
            text = self._split(query, text, self._compositions, splits)
        is_taught = query.noun is not None and query.noun.taught
        query.prompt_text = EVERY_OBJECT if is_taught else text

    def _is_noun(self, word: str) -> bool:
        finder = self._finder
        return word in self._processor.config.nouns or (finder is not None and finder.is_noun(word))

    def _is_taught(self, word: str) -> bool:
        return self._finder is not None and self._finder.is_taught(word)

    def _known_and_unknown(self, text: str) -> tuple[list[str], list[str]]:
        """Return the known and the unknown words of a text; taught ones are known."""
        known, unknown = self._processor.known_and_unknown(text)
        taught = [word for word in unknown if self._is_taught(word.lower())]
        return [*known, *taught], [word for word in unknown if word not in taught]

    def _split(self, query: Query, text: str, reader: CompositionReader, splits: int) -> str:
        """Fill in the simpler queries of a query, if any; return the text in plainer words."""
        # The parser has never met taught nouns.
        has_taught = any(map(self._is_taught, re.findall(r"[a-z'-]+", text.lower())))
        parsed = self._parser.parse(text) if self._parser and not has_taught else None
        composition = parsed.composition if parsed else reader.read(text)
        text = parsed.text if parsed else text
        if composition is not None:
            query.operation = composition.operation
            query.parts = tuple(
                Query(text=part or text, task=query.task, verbatim=part is None)
                for part in composition.parts
            )
            for part in query.parts:
                self.read(part, splits - 1)
        return text
