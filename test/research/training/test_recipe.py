from __future__ import annotations

from pathlib import Path

import pytest

from instructseg_ros.research.training.recipe import RecipeError, load_recipe

SOURCE = 'sources: [{sets: [folder]}]\n'


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / 'mine.yaml'
    file.write_text(text)
    return str(file)


def test_the_paper_s_recipe_has_the_paper_s_numbers() -> None:
    recipe = load_recipe('paper')
    assert [source.share for source in recipe.sources] == [4, 2, 4, 1, 3]
    assert (recipe.steps, recipe.batch, recipe.learning_rate) == (100_000, 4, 4e-5)
    assert (recipe.warmup, recipe.weight_decay, recipe.clip) == (0.03, 0.0, 0.0)
    assert (recipe.lora.rank, recipe.lora.alpha, recipe.lora.dropout) == (8, 16, 0.05)
    assert recipe.lora.targets == ('q_proj', 'v_proj')
    criterion = recipe.criterion
    assert (criterion.score_weight, criterion.mask_weight, criterion.dice_weight) == (2, 5, 5)
    assert criterion.points == 12_544


def test_the_paper_s_recipe_draws_and_labels_as_the_authors_do() -> None:
    recipe = load_recipe('paper')
    assert [source.per_video for source in recipe.sources] == [False] * 4 + [True]
    assert recipe.sources[4].sets == ('revos',)
    assert recipe.examples.key_frame_has_target and recipe.examples.authors_labels


def test_fine_tuning_uses_whole_answers_clipped_gradients_and_absent_targets() -> None:
    recipe = load_recipe('fine_tune')
    assert recipe.clip == 1
    assert not (recipe.examples.key_frame_has_target or recipe.examples.authors_labels)


@pytest.mark.parametrize('name', ['paper', 'fine_tune', 'smoke'])
def test_every_recipe_of_the_package_is_valid(name: str) -> None:
    assert load_recipe(name).sources


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('learning_rat: 1', 'learning_rat is not a key of a recipe: did you mean learning_rate?'),
        ('lora: {rang: 1}', r'lora\.rang is not a key of a recipe: did you mean rank?'),
        ('zebra: 1', 'zebra is not a key of a recipe; its keys are steps, learning_rate'),
        ('steps: many', "steps must be of type int, not 'many'"),
        ('steps: 0', 'steps must be at least 1, not 0'),
        ('learning_rate: fast', "learning_rate must be a number, not 'fast'"),
        ('gradient_checkpointing: 1', 'gradient_checkpointing must be of type bool, not 1'),
        ('precision: fp64', "precision must be no, bf16 or fp16, not 'fp64'"),
        ('trained: head', "trained must be a list, not 'head'"),
        ('lora: 3', r'^lora must be keys with values, not 3'),
        ('clip: -1', 'clip must be at least 0, not -1.0'),
        ('clip: .nan', "clip must be a number, not '.nan'"),
        ('clip: .inf', 'clip must be a number'),
        ('learning_rate: nan', "learning_rate must be a number, not 'nan'"),
        ('warmup: inf', "warmup must be a number, not 'inf'"),
        ('save_minutes: 1e999', "save_minutes must be a number, not '1e999'"),
        ('lora:', '^lora must be keys with values, but is empty'),
        ('steps: 2026-13-01', "steps must be of type int, not '2026-13-01'"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        load_recipe(written(tmp_path, SOURCE + text))


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('sources: []', 'at least one source'),
        ('steps: 3', 'sources'),
        ('sources: [{sets: [cats]}]', "no data set is called 'cats'; choose from refcoco"),
        ('sources: [{sets: [folder], share: 0}]', 'a share of at least 1'),
        ('a: [', 'is not YAML'),
        ('3', 'a recipe must consist of keys with values'),
    ],
)
def test_an_invalid_recipe_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        load_recipe(written(tmp_path, text))


def test_a_recipe_must_be_utf_8_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    text = f'{SOURCE}steps: 3\n'
    file = tmp_path / 'recipe.yaml'
    file.write_text(text, encoding='utf-8-sig')
    assert load_recipe(str(file)).steps == 3
    file.write_text(text, encoding='utf-16')
    with pytest.raises(RecipeError, match=r'recipe\.yaml is not YAML in UTF-8'):
        load_recipe(str(file))


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match='recipes of the package are fine_tune, paper, smoke'):
        load_recipe('secret')


def test_values_are_overridden_by_their_dotted_key() -> None:
    recipe = load_recipe('smoke', {'steps': '7', 'lora.rank': '2', 'criterion.points': '64'})
    assert (recipe.steps, recipe.lora.rank, recipe.criterion.points) == (7, 2, 64)
    with pytest.raises(RecipeError, match=r'steps\.x: steps is a single value'):
        load_recipe('smoke', {'steps.x': '7'})


@pytest.mark.parametrize('text', ['no', "'no'"])
def test_precision_no_is_a_string_in_a_file_and_on_the_command_line(
    tmp_path: Path, text: str
) -> None:
    assert load_recipe(written(tmp_path, f'{SOURCE}precision: {text}')).precision == 'no'
    assert load_recipe('paper', {'precision': text}).precision == 'no'


@pytest.mark.parametrize('text', ['on', 'off', 'yes', 'no', 'null', '7', '1.10', '4e-5', '1_000'])
def test_a_string_setting_is_read_verbatim(text: str) -> None:
    recipe = load_recipe(
        'smoke',
        {
            'lora.targets': f'[{text}, v_proj]',
            'trained': f'[{text}]',
            'sources': f'[{{sets: [folder], split: {text}}}]',
        },
    )
    assert recipe.lora.targets == (text, 'v_proj')
    assert recipe.trained == (text,)
    assert recipe.sources[0].split == text
    with pytest.raises(RecipeError, match='precision must be no, bf16 or fp16'):
        load_recipe('smoke', {'precision': 'off'})


def test_numbers_and_booleans_are_read_as_yaml() -> None:
    recipe = load_recipe(
        'smoke',
        {
            'steps': '1_000',
            'learning_rate': '4e-5',
            'gradient_checkpointing': 'off',
            'warmup': '0',
            'examples.causal': 'yes',
        },
    )
    assert (recipe.steps, recipe.learning_rate, recipe.warmup) == (1000, 4e-5, 0.0)
    assert recipe.gradient_checkpointing is False and recipe.examples.causal is True


@pytest.mark.parametrize(
    ('key', 'text', 'reason'),
    [
        ('sources', '[{sets: [coco', 'sources: .* is not YAML'),
        ('precision', '[no]', r"precision must be one value, not \['no'\]"),
        ('steps', '"["', r"steps must be of type int, not '\['"),
        ('save_minutes', '0', 'save_minutes must be above 0'),
        ('validate_every', '-1', 'validate_every must be at least 0, not -1'),
    ],
)
def test_a_wrong_value_on_the_command_line_is_named(key: str, text: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        load_recipe('smoke', {key: text})
