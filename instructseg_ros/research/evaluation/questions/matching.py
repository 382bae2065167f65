"""Scores of short answers that are right or wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from instructseg_ros.research.data.sample import Sample

# A letter that a word follows is a word itself: `A dog`, `I see`.
_LETTER: Final = re.compile(r"^\W*([A-Z])(?! *[\w'])")
_NAMED: Final = re.compile(r'\b(?i:(?:answer|option|choice)(?: is)?)\W*([A-Z])\b')
_LETTER_FIRST: Final = re.compile(r'([A-E])(?:$|\. )')
_SCIENCE: Final = re.compile(r'The answer is ([A-Z]).')
_NO: Final = ('No', 'not', 'no')
_ROTATION: Final = 1_000_000  # MMBench numbers the rotations of a question by this


def accuracy(
    samples: Sequence[Sample], answers: Mapping[str, str], right: Callable[[Sample, str], bool]
) -> dict[str, Any]:
    """Share of right answers, of all and of each group; a missing answer is wrong."""
    groups: dict[str, list[bool]] = {}
    for sample in samples:
        is_right = sample.key in answers and right(sample, answers[sample.key])
        for group in ('accuracy', sample.group):
            if group:
                groups.setdefault(group, []).append(is_right)
    figures: dict[str, Any] = {group: sum(each) / len(each) for group, each in groups.items()}
    return figures | {'n': len(samples), 'missing': count_missing(samples, answers)}


def count_missing(samples: Iterable[Sample], answers: Mapping[str, str]) -> int:
    """Questions without an answer."""
    return sum(sample.key not in answers for sample in samples)


def is_same_text(sample: Sample, answer: str) -> bool:
    """GQA: the same words, whatever their case and a full stop at the end."""
    return answer.strip().rstrip('.').lower() == sample.turns[0].answer.lower()


def is_same_letter(sample: Sample, answer: str) -> bool:
    """MMBench: the letter of the option that is right."""
    return letter_of(answer) == sample.turns[0].answer


def is_same_science_letter(sample: Sample, answer: str) -> bool:
    """ScienceQA: the same, and in one of the forms that its script looks for."""
    return science_letter_of(answer) == sample.turns[0].answer


def letter_of(answer: str) -> str:
    """The option that an answer names; '' where it names none, or several."""
    if first := _LETTER.match(answer.strip()):
        return first[1]
    named = set(_NAMED.findall(answer))
    return named.pop() if len(named) == 1 else ''


def science_letter_of(answer: str) -> str:
    """The option that an answer names for LLaVA's eval_science_qa.py, which the authors use.

    Returns:
        the letter of `B`, of `B. a fish`, or of `The answer is B.` if that is said once; '' else.
    """
    text = answer.strip()
    if first := _LETTER_FIRST.match(text):
        return first[1]
    said = _SCIENCE.findall(text)
    return said[0] if len(said) == 1 else ''


def score_gqa(samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
    """Exact matches."""
    return accuracy(samples, answers, is_same_text)


def score_scienceqa(samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
    """Right letters, of all and by subject."""
    return accuracy(samples, answers, is_same_science_letter)


def score_mmbench(samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
    """Right letters; a question whose options were rotated is right where all rotations are.

    Without published answers (the test split) there are no figures.
    """
    if not samples or not all(sample.turns[0].answer for sample in samples):
        return {'n': len(samples), 'missing': count_missing(samples, answers)}
    rotations: dict[int, list[bool]] = {}
    for sample in samples:
        question = int(sample.details['index']) % _ROTATION
        right = is_same_letter(sample, answers.get(sample.key, ''))
        rotations.setdefault(question, []).append(right)
    circular = sum(all(each) for each in rotations.values()) / len(rotations)
    return accuracy(samples, answers, is_same_letter) | {'circular': circular}


def score_pope(samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
    """Accuracy, precision, recall, F1 and the share of yes for each subset, and mean F1."""
    subsets = sorted({sample.group for sample in samples})
    figures: dict[str, Any] = {
        subset: _yes_or_no([s for s in samples if s.group == subset], answers) for subset in subsets
    }
    mean = sum(figures[subset]['F1'] for subset in subsets) / len(subsets) if subsets else 0.0
    return figures | {'F1': mean, 'n': len(samples), 'missing': count_missing(samples, answers)}


def says_yes(answer: str) -> bool:
    """Whether the first sentence of an answer says no word for no (spec 7.6)."""
    words = answer.split('.')[0].replace(',', '').split(' ')
    return not any(word in words for word in _NO)


def _yes_or_no(samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, float]:
    pairs = [
        (says_yes(answers[s.key]) if s.key in answers else None, s.turns[0].answer == 'yes')
        for s in samples
    ]
    right = sum(said == true for said, true in pairs)  # None, a missing answer, never is
    both = sum(said is True and true for said, true in pairs)
    said_yes = sum(said is True for said, _ in pairs)
    true_yes = sum(true for _, true in pairs)
    precision = both / said_yes if said_yes else 0.0
    recall = both / true_yes if true_yes else 0.0
    total = precision + recall
    return {
        'accuracy': right / len(pairs),
        'precision': precision,
        'recall': recall,
        'F1': 2 * precision * recall / total if total else 0.0,
        'yes': said_yes / len(pairs),
    }
