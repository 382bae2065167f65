"""ScienceQA: the school questions that have an image (Lu et al., NeurIPS 2022)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.dataset import Answers, Figures, QuestionBenchmark, row
from instructseg_ros.research.data.reading import Reading, read_list, read_table
from instructseg_ros.research.data.sample import ImageFile, Sample
from instructseg_ros.research.published.questions import LETTERS, accuracy, question, with_options

_LETTER_FIRST: Final = re.compile(r'([A-E])(?:$|\. )')
_SENTENCE: Final = re.compile(r'The answer is ([A-Z]).')


def read(folder: Path, split: str) -> Reading:
    """Read the questions of a split that have an image.

    Raises:
        DataError: A file is missing or damaged.
    """
    file = folder / 'problems.json'
    problems = read_table(file)
    reading = Reading()
    for key in map(str, read_list(folder / 'pid_splits.json', split)):
        problem = problems.get(key, {})
        if not isinstance(problem, dict) or not problem or problem.get('image'):
            reading.add(f'{file} {key}', partial(_sample, key, problem, split, folder))
    return reading


def _sample(key: str, problem: Mapping[str, Any], split: str, folder: Path) -> Sample:
    text, options, answer = problem['question'], problem['choices'], problem['answer']
    # Worded as in LLaVA's tools: `create_one_example_chatbot` in
    # convert_sqa_to_llava_base_prompt.py replaces double spaces by single ones, in one pass.
    hint = (problem.get('hint') or '').strip()
    context = f'Context: {hint}\n' if hint else ''
    if answer not in range(len(options)):
        raise ValueError(f'the answer must be one of {len(options)} choices, not {answer!r}')
    return question(
        key,
        ImageFile(folder / 'images' / split / key / problem['image']),
        with_options(f'{context}{text}', options).replace('  ', ' '),
        LETTERS[answer],
        group=problem.get('subject', ''),
    )


def score(samples: Sequence[Sample], answers: Answers) -> Figures:
    """Compute the share of right letters, over all questions and by subject."""
    return accuracy(samples, answers, lambda s, said: letter_of(said) == s.turns[0].answer)


def letter_of(answer: str) -> str:
    """Find the option in an answer as LLaVA's eval_science_qa.py does, which the authors use.

    Returns:
        The letter of `B`, of `B. a fish`, or of `The answer is B.` if that occurs once; or ''.
    """
    text = answer.strip()
    if first := _LETTER_FIRST.match(text):
        return first[1]
    said = _SENTENCE.findall(text)
    return said[0] if len(said) == 1 else ''


DATA_SETS: Final = (
    QuestionBenchmark(
        name='scienceqa',
        splits=('test', 'val', 'train'),
        read=read,
        layout='problems.json, pid_splits.json\nimages/SPLIT/NUMBER/image.png',
        score=score,
        published={'accuracy': {'test': row(69.2, **{'LLaVA-1.5-7B': 66.8})}},
    ),
)
