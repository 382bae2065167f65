"""Teaches a model new objects: makes a model folder that knows them from one that does not."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError

from instructseg_ros.model.model_files import (
    MANIFEST,
    NOUN_WEIGHTS,
    NOUNS,
    PROCESSOR,
    TAUGHT,
    TAUGHT_WEIGHTS,
    check_manifest,
    model_hash,
    write_manifest,
)
from instructseg_ros.model.noun_finder import NounNetwork
from instructseg_ros.model.noun_query import COLORS, NounReader
from instructseg_ros.model.taught_network import read_taught
from instructseg_ros.teaching.backgrounds import photographed_backgrounds, rendered_backgrounds
from instructseg_ros.teaching.examples import (
    FOLDER,
    Example,
    load_examples,
    names_of,
    save_examples,
)
from instructseg_ros.teaching.fine_tuning import WORK, fine_tune
from instructseg_ros.teaching.trainer import HeadTrainer, Progress
from instructseg_ros.video.run_folder import LOCK, locked

MIN_EXAMPLES: Final = 3  # pictures of each name
_SCENES: Final = 60  # rendered backgrounds
_CAPTURED: Final = '.captured'  # in the output folder, with a folder of examples for each name
_STATE: Final = 'teaching.json'
_CHECKPOINT: Final = 'pixels.safetensors'
_NEW_MODEL: Final = 'model'  # in the folder of unfinished work
_NAME: Final = re.compile(r'[a-z]+( [a-z]+){0,3}')
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class TeachingError(ValueError):
    """A model cannot be taught something; the message says how to fix it."""


def has_heads(model: Path) -> bool:
    """Return whether a model learns by heads on its noun finder; others are fine-tuned."""
    return (model / NOUN_WEIGHTS).is_file()


def check_names(model: Path, names: Sequence[str], *, add: bool = False) -> None:
    """Check that a model can be taught some nouns.

    Args:
        model: Folder of the model.
        names: Nouns in lower case, singular.
        add: Whether a known noun gets more examples, or is replaced if it was built in. Models
            that are fine-tuned read all words, and none counts as known.

    Raises:
        TeachingError: A name is no noun, or already known.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise TeachingError(f'"{name}" is no name: use one to four words of the letters a to z')
    if not has_heads(model):
        return
    taught = {noun.name for noun in read_taught(model)}
    own = json.loads((model / PROCESSOR).read_text()).get('nouns', ())
    nouns = json.loads((model / NOUNS).read_text())
    reader = NounReader({**nouns, **dict.fromkeys(own, ())}, [*taught])
    for name in names:
        query = NounReader({}, [name]).read(f'the {name}')
        is_color = name in COLORS and name not in nouns  # an orange is also a fruit
        if query is None or query.taught != name or is_color:
            raise TeachingError(
                f'"{name}" cannot be a name, because it says which object is meant, as "left" and '
                f'"red" do: use a noun'
            )
        if name in taught and not add:
            raise TeachingError(
                f'the model was taught "{name}" before: pass --add to add these examples to its own'
            )
        if reader.is_noun(name) and not add:
            raise TeachingError(
                f'the model knows "{name}" already: try it first; pass --add if your examples '
                f'shall decide what "{name}" means from now on, or use another name'
            )


def all_examples(
    model: Path, examples: Sequence[Example], names: Sequence[str] = ()
) -> list[Example]:
    """Return the examples that a model was taught with before, and new ones.

    Args:
        model: Folder of the model.
        examples: The new examples.
        names: Nouns that must have examples, even if none is in the new ones.

    Raises:
        TeachingError: A name has too few examples.
    """
    joined = [*load_examples(model / FOLDER), *examples]
    for name in sorted({*names, *names_of(joined)}):
        count = sum(bool(each.union(name).any()) for each in joined)
        if count < MIN_EXAMPLES:
            raise TeachingError(
                f'"{name}" is in {count} of the pictures to learn from: give at least '
                f'{MIN_EXAMPLES}, better ten'
            )
    return joined


def check_output(output: Path) -> None:
    """Check that a folder is new, or holds the unfinished work of a teaching.

    Raises:
        TeachingError: It contains something else.
    """
    if (output / WORK / _STATE).is_file():
        return  # A teaching that was killed while it moved the files of the new model here.
    own = (WORK, _CAPTURED, LOCK)
    if output.is_dir() and (others := [e.name for e in output.iterdir() if e.name not in own]):
        raise TeachingError(f'{output} contains {min(others)}: name a new folder with --output')


def keep_capture(output: Path, name: str, examples: Sequence[Example]) -> None:
    """Keep captured examples in the output folder, so that a killed teaching can resume.

    Raises:
        OSError: The output cannot be written.
    """
    with _explaining(output):
        shutil.rmtree(output / _CAPTURED / name, ignore_errors=True)  # unfinished, or fewer
        save_examples(examples, output / _CAPTURED / name)


def kept_capture(output: Path, name: str) -> list[Example]:
    """Return the examples that an unfinished teaching captured; none if it captured none."""
    return load_examples(output / _CAPTURED / name)


def teach(
    model: Path,
    examples: Sequence[Example],
    output: Path,
    *,
    report: Callable[[Progress], None],
    steps: int = 900,
) -> Path:
    """Teach a model all names of some examples; resume a teaching that was killed.

    Args:
        model: Folder of the model to start from; stays as it is.
        examples: Its earlier examples and new ones, see `all_examples`.
        output: Folder of the new model; must not contain one.
        report: Receives the progress.
        steps: Steps of the pixel head, or of the fine-tuning of a model without noun finder.

    Returns:
        The output folder.

    Raises:
        TeachingError: The output folder contains something else.
        ModelError: The model's files were changed.
        OSError: The output cannot be written.
    """
    check_manifest(model)
    with _explaining(output), locked(output):
        work = _claim(output, model, examples, steps)
        if has_heads(model):
            _train_heads(model, examples, work, report, steps)
            _install(output)
        else:
            fine_tune(model, examples, output, report=report, steps=steps)
        shutil.rmtree(output / _CAPTURED, ignore_errors=True)
    return output


def _train_heads(
    model: Path,
    examples: Sequence[Example],
    work: Path,
    report: Callable[[Progress], None],
    steps: int,
) -> None:
    """Write a model with heads for all names of some examples into the unfinished work."""
    report(Progress(stage='pictures', done=0.0))  # Rendering takes a while.
    names = names_of(examples)
    backgrounds = [*rendered_backgrounds(_SCENES), *photographed_backgrounds()]
    trainer = HeadTrainer(
        NounNetwork.load(model),
        names,
        examples,
        [each for each in backgrounds if not each.may_show(names)],
        steps=steps,
        checkpoint=work / _CHECKPOINT,
    )
    network = trainer.run(report)
    new = _copy_model(model, work)
    network.save(new)
    save_examples(examples, new / FOLDER)
    write_manifest(new)


def _install(output: Path) -> None:
    """Move the new model from the unfinished work to the output folder."""
    # Renamed, not copied, so that no model is half there if the disk is full.
    for file in sorted((output / WORK / _NEW_MODEL).iterdir()):
        if file.is_dir():
            shutil.rmtree(output / file.name, ignore_errors=True)
        file.replace(output / file.name)
    shutil.rmtree(output / WORK)


@contextmanager
def _explaining(output: Path) -> Iterator[None]:
    """Name the folder and the remedy in errors of a full disk.

    Raises:
        OSError: The disk is full, or a file of weights is damaged.
    """
    try:
        yield
    except SafetensorError as error:  # It has no error number.
        raise OSError(_explain(output, error)) from error
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OSError(_explain(output, error)) from error


def _explain(output: Path, error: Exception) -> str:
    return f'{output} cannot be written ({error}): free some space, then start again to resume'


def forget(
    model: Path,
    names: Sequence[str],
    output: Path,
    *,
    report: Callable[[Progress], None],
    steps: int = 900,
) -> Path:
    """Make a model folder that was never taught some names; retrains what is left, if anything.

    Args:
        model: Folder of a taught model.
        names: Taught nouns.
        output: Folder of the new model.
        report, steps: See `teach`.

    Raises:
        TeachingError: The model was not taught one of the names, or learns by fine-tuning.
    """
    if not has_heads(model):
        raise TeachingError(
            f'{model} has no heads that could be removed: fine-tuning changes the whole model. '
            'Teach the original model the other names again, with `instructseg teach`'
        )
    taught = {noun.name for noun in read_taught(model)}
    if unknown := [name for name in names if name not in taught]:
        known = ', '.join(sorted(taught)) or 'nothing'
        raise TeachingError(f'the model was not taught "{unknown[0]}"; it was taught {known}')
    stored = load_examples(model / FOLDER)
    left = [_without(each, names) for each in stored if not {*names_of([each])} <= {*names}]
    if names_of(left):
        return teach(model, left, output, report=report, steps=steps)
    with _explaining(output), locked(output):
        work = _claim(output, model, left, 0)
        write_manifest(_copy_model(model, work))
        _install(output)
    return output


def _without(example: Example, names: Sequence[str]) -> Example:
    kept = tuple(one for one in example.objects if one.name not in names)
    return dataclasses.replace(example, objects=kept)


def _claim(output: Path, model: Path, examples: Sequence[Example], steps: int) -> Path:
    """Return the folder of unfinished work in the output folder; it may contain a checkpoint."""
    work = output / WORK
    state = {'model': model_hash(model), 'steps': steps, 'examples': _fingerprint(examples)}
    text = json.dumps(state) + '\n'
    check_output(output)
    if (work / _STATE).is_file() and (work / _STATE).read_text() != text:
        shutil.rmtree(work)  # of a teaching with other examples
    work.mkdir(exist_ok=True)
    (work / _STATE).write_text(text)
    return work


def _fingerprint(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for each in examples:
        digest.update(np.ascontiguousarray(each.image).tobytes())
        for one in each.objects:
            digest.update(one.name.encode() + np.packbits(one.mask).tobytes())
    return digest.hexdigest()


def _copy_model(model: Path, work: Path) -> Path:
    """Copy the files of a model, except for what it was taught; return their new folder."""
    new = work / _NEW_MODEL
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for file in sorted(model.iterdir()):
        if file.is_file() and file.name not in (TAUGHT, TAUGHT_WEIGHTS, MANIFEST, LOCK):
            shutil.copyfile(file, new / file.name)
    return new
