"""The commands `instructseg teach`, `forget` and `words`."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shape_examples import (
    SIZE,
    make_quick,
    picture,
    quick_teaching,  # noqa: F401
    shape_example,
    shape_examples,
    write_labelme,
)

from instructseg_ros.cli import teach as command
from instructseg_ros.cli.main import main
from instructseg_ros.model.model_files import check_manifest, find_model
from instructseg_ros.model.taught_network import read_taught
from instructseg_ros.teaching import teach
from instructseg_ros.teaching.capture import ShownFrame
from instructseg_ros.teaching.examples import FOLDER, load_examples
from instructseg_ros.teaching.fine_tuning import WORK

STEPS = ['--steps', '2']


@dataclasses.dataclass
class Recording:
    """Stands for the frames of a bag; counts how often it is opened.

    Attributes:
        frames: Its frames; a callable is called, to raise an error.
    """

    frames: list[ShownFrame | Callable[[], ShownFrame]]
    live: bool = False
    opened: int = 0

    def open(self, path: Path) -> Recording:
        self.opened += 1
        return self

    def __iter__(self) -> Iterator[ShownFrame]:
        for each in self.frames:
            yield each() if callable(each) else each


@dataclasses.dataclass
class Results:
    """Keeps the arguments of `_print_results`."""

    calls: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)

    def keep(self, *arguments: Any) -> None:
        self.calls.append(arguments)


@pytest.fixture(autouse=True)
def results(
    monkeypatch: pytest.MonkeyPatch,
    quick_teaching: None,  # noqa: F811
    tmp_path: Path,
) -> Results:
    """Run in a folder of the test's own, without measurements, at the usual priority."""
    kept = Results()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, '_print_results', kept.keep)
    monkeypatch.setattr(command.os, 'nice', lambda increment: 0)
    return kept


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    """Let all bags be a recording of a star, on a table whose picture is `empty.png`."""
    empty = Image.new('RGB', SIZE, (150, 145, 140))
    empty.save('empty.png')
    frames = [ShownFrame(rgb=np.array(picture('star', seed)[0]), source='bag') for seed in range(4)]
    made = Recording([*frames])
    monkeypatch.setattr('instructseg_ros.teaching.capture.frames_of_bag', made.open)
    return made


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a capture collect examples at once; return the list of the names captured so far."""
    names: list[str] = []

    def collect(frames: object, name: str, *, count: int, **options: object) -> list[Any]:
        names.append(name)
        return [shape_example(name, seed) for seed in range(count)]

    monkeypatch.setattr('instructseg_ros.teaching.capture.collect', collect)
    return names


@pytest.fixture(scope='module')
def star_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was taught the noun star; tests only read it."""
    embedded = find_model('embedded')
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        output = tmp_path_factory.mktemp('taught') / 'star'
        return teach.teach(
            embedded, shape_examples('star'), output, steps=2, report=lambda progress: None
        )


def taught_names(model: Path | str) -> list[str]:
    return [noun.name for noun in read_taught(Path(model))]


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the line that a failing command prints after its progress."""
    capsys.readouterr()
    assert main(arguments) == 1
    shown = capsys.readouterr().err
    assert 'Traceback' not in shown
    return shown.rpartition('instructseg: ')[2]


@pytest.mark.parametrize('name', ['teach', 'forget', 'words'])
def test_each_command_explains_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, '--help'])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f'usage: instructseg {name}')


def test_labelled_pictures_teach_a_noun_and_the_folder_has_its_name(results: Results) -> None:
    data = write_labelme(Path('data'), ['paper clip', 'star'])
    assert main(['teach', 'Paper-Clip', 'paper clip', '--data', str(data), *STEPS]) == 0
    output = Path('taught/paper_clip')
    check_manifest(output)
    assert taught_names(output) == ['paper clip']
    [(_, folder, names, examples, held_out)] = results.calls
    assert (folder, names, held_out) == (output, ['paper clip'], [])
    assert len(load_examples(output / FOLDER)) == len(examples)


def test_held_out_pictures_are_measured_and_not_learned_from(results: Results) -> None:
    write_labelme(Path('data'), ['star'], count=5)
    assert (
        main(['teach', 'star', '--data', 'data', '--hold-out', 'star_1', 'star_3.png', *STEPS]) == 0
    )
    [(_, output, _, examples, held_out)] = results.calls
    assert [Path(each.source).stem for each in held_out] == ['star_1', 'star_3']
    stored = [Path(each.source).stem for each in load_examples(output / FOLDER)]
    assert stored == ['star_0', 'star_2', 'star_4'] and len(examples) == 3


def test_holding_out_all_pictures_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    write_labelme(Path('data'), ['star', 'stapler'])
    hold_out = ['--hold-out', *(f'star_{seed}' for seed in range(3))]
    error = error_of(capsys, 'teach', 'star', '--data', 'data', *hold_out)
    assert error.startswith('"star" is in 0 of the pictures to learn from: give at least 3')


def test_a_noun_that_is_known_is_refused_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], recording: Recording
) -> None:
    error = error_of(capsys, 'teach', 'star', 'Mugs', '--data', 'missing')
    assert error.startswith('the model knows "mugs" already') and '--add' in error
    assert recording.opened == 0
    assert not Path('taught').exists()


def test_known_nouns_are_taught_with_add(star_model: Path) -> None:
    write_labelme(Path('data'), ['star'])
    options = ['--model', str(star_model), '--add', '-o', 'more', *STEPS]
    assert main(['teach', 'star', '--data', 'data', *options]) == 0
    assert [noun.examples for noun in read_taught(Path('more'))] == [6]


def test_a_folder_with_other_content_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path('home').mkdir()
    Path('home/letter.txt').touch()
    error = error_of(capsys, 'teach', 'star', '--data', 'data', '-o', 'home')
    assert error == 'home contains letter.txt: name a new folder with --output\n'


def test_two_teachings_compose(star_model: Path) -> None:
    write_labelme(Path('data'), ['stapler'])
    options = ['--model', str(star_model), '-o', 'both', *STEPS]
    assert main(['teach', 'stapler', '--data', 'data', *options]) == 0
    assert taught_names('both') == ['stapler', 'star']
    assert len(load_examples(Path('both') / FOLDER)) == 6
    assert main(['forget', 'Star', '--model', 'both', *STEPS]) == 0
    assert taught_names('taught/without-star') == ['stapler']


def test_a_noun_that_was_not_taught_cannot_be_forgotten(
    capsys: pytest.CaptureFixture[str], star_model: Path
) -> None:
    error = error_of(capsys, 'forget', 'stapler', '--model', str(star_model))
    assert error == 'the model was not taught "stapler"; it was taught star\n'


def test_an_object_in_a_recording_without_depth_is_cut_out_with_a_picture_of_the_empty_table(
    recording: Recording, results: Results
) -> None:
    options = ['--bag', 'bag', '--empty-table', 'empty.png', '--count', '3', *STEPS]
    assert main(['teach', 'star', *options]) == 0
    for each, seed in zip(load_examples(Path('taught/star') / FOLDER), range(4), strict=False):
        mask, truth = each.union('star'), picture('star', seed)[1]
        assert (mask & truth).sum() / (mask | truth).sum() > 0.8
    assert not (Path('taught/star') / '.captured').exists()


def test_without_depth_and_a_picture_of_the_empty_table_the_error_names_the_remedy(
    capsys: pytest.CaptureFixture[str], recording: Recording
) -> None:
    error = error_of(capsys, 'teach', 'star', '--bag', 'bag')
    assert 'depth' in error and '--empty-table' in error


def test_ctrl_c_during_a_capture_ends_without_a_traceback(
    capsys: pytest.CaptureFixture[str], recording: Recording
) -> None:
    def interrupt() -> ShownFrame:
        raise KeyboardInterrupt

    recording.frames.insert(1, interrupt)
    options = ['--bag', 'bag', '--empty-table', 'empty.png']
    assert main(['teach', 'star', *options]) == 130
    assert 'Traceback' not in capsys.readouterr().err
    assert not Path('taught').exists()


def test_a_killed_teaching_does_not_capture_again(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recording: Recording,
    captures: list[str],
) -> None:
    def die(*arguments: object) -> None:
        raise RuntimeError('killed')

    arguments = ['teach', 'star', '--bag', 'bag', '--count', '3', *STEPS]
    with monkeypatch.context() as patch:
        patch.setattr(command._Reporter, 'training', die)
        assert error_of(capsys, *arguments) == 'killed\n'
    assert main(arguments) == 0
    assert captures == ['star']
    assert '3 frames of the star were captured before' in capsys.readouterr().err
    assert not (Path('taught/star') / WORK).exists()


def test_more_frames_than_were_captured_before_are_captured_anew(
    captures: list[str], recording: Recording
) -> None:
    teach.keep_capture(Path('taught/star'), 'star', shape_examples('star'))
    assert main(['teach', 'star', '--bag', 'bag', '--count', '4', *STEPS]) == 0
    assert captures == ['star']
    assert len(load_examples(Path('taught/star') / FOLDER)) == 4


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['star', '--bag', 'b', '--count', '2'], '--count 2 is too few: capture at least 3'),
        (['star', '--bag', 'b', '--hold-out', 'a'], 'use it with --data'),
        (['star', 'stapler', '--bag', 'b'], 'teach star first, and then stapler with --model'),
    ],
)
def test_options_that_do_not_fit_the_source_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert words in error_of(capsys, 'teach', *arguments)


def test_several_objects_need_a_terminal_that_asks_for_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr('sys.stdin', io.StringIO())
    error = error_of(capsys, 'teach', 'star', 'stapler', '--camera', 'front')
    assert error.startswith('only a terminal can ask for each: teach star first')


class SilentNode:
    """Stands for the ROS node of a teaching."""

    def __init__(self, ros_args: list[str]) -> None:
        self.progress = self

    def __enter__(self) -> SilentNode:
        return self

    def __exit__(self, *raised: object) -> None: ...

    def frames(self, camera: str, *, timeout: float) -> list[ShownFrame]:
        return []

    def publish(self, stage: str, done: float, **details: object) -> None: ...


class Terminal(io.StringIO):
    """A terminal on which someone pressed Enter."""

    def isatty(self) -> bool:
        return True


def test_before_the_next_object_the_enter_key_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], captures: list[str]
) -> None:
    terminal = Terminal('\n\n')
    monkeypatch.setattr('sys.stdin', terminal)
    monkeypatch.setattr('instructseg_ros.teaching.camera.TeachingNode', SilentNode)
    arguments = ['star', 'paper clip', '--camera', 'front', '--count', '3', *STEPS]
    assert main(['teach', *arguments]) == 0
    shown = capsys.readouterr().err
    assert 'Put the star alone on the table before the camera. Move' in shown
    assert 'Put the paper clip alone on the table before the camera, and press Enter.' in shown
    assert terminal.tell() == 1
    assert captures == ['star', 'paper clip']
    assert taught_names('taught/star-paper_clip') == ['paper clip', 'star']


def test_words_lists_the_nouns(capsys: pytest.CaptureFixture[str], star_model: Path) -> None:
    assert main(['words', '--model', str(star_model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'taught (1): star'
    assert lines[1].startswith('tabletop (') and 'mug' in '\n'.join(lines)
    assert all(len(line) <= 96 for line in lines)
    assert main(['words']) == 0
    assert capsys.readouterr().out.startswith('taught (0): none\n')


def test_words_are_printed_as_json_on_request(
    capsys: pytest.CaptureFixture[str], star_model: Path
) -> None:
    assert main(['words', '--json', '--model', str(star_model)]) == 0
    words = json.loads(capsys.readouterr().out)
    assert words['taught'] == ['star']
    assert 'mug' in words['tabletop'] and 'abacus' in words['photographs']
