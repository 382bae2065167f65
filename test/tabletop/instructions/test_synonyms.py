from __future__ import annotations

from instructseg_ros.model.model_files import find_model
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.tabletop.instructions import synonyms, vocabulary


def test_training_has_what_synonyms_are_read_as_and_not_the_synonyms() -> None:
    words = set(vocabulary())
    assert words.isdisjoint(synonyms())
    assert all(words.issuperset(known.split()) for known in synonyms().values())


def test_a_synonym_keeps_its_number() -> None:
    assert synonyms()['automobile'] == 'car'
    assert synonyms()['automobiles'] == 'cars'


def test_the_shipped_model_reads_them() -> None:
    processor = InstructSegProcessor.from_pretrained(find_model('embedded'))

    def ids(text: str) -> list[int]:
        return list(processor.tokenizer(text, add_special_tokens=False)['input_ids'])

    assert [ids(word) for word in synonyms()] == [ids(known) for known in synonyms().values()]
    assert processor.tokenizer.unk_token_id not in ids(' '.join(synonyms()))
