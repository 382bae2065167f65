"""The authors' checkpoint in this package's layout, and back (spec 5)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import PreTrainedTokenizerFast

from instructseg_ros.conversion.description import describe, expected_shapes
from instructseg_ros.conversion.released_keys import our_names
from instructseg_ros.conversion.source import check_target, read_config, read_json
from instructseg_ros.conversion.tensors import TensorFolder, save, write_shards
from instructseg_ros.conversion.unused import unused_shapes
from instructseg_ros.model.checkpoints import HEAD, HEAD_FILE, ModelError, first_line
from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.manifest import sha256
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.prompts import RELEASED as RELEASED_PROMPTS
from instructseg_ros.model.prompts import SEG_TOKEN

RELEASED: Final = 'released'  # the folder of what only the way back needs
MANIFEST: Final = 'manifest.json'
_UNUSED: Final = 'unused.safetensors'
_CANVAS: Final = (1024, 1024)
_NAMED = 5  # tensors in an error
EMBEDDINGS: Final = 'model.embed_tokens.weight'
_HALF: Final = {'F16': 'float16', 'BF16': 'bfloat16'}


def convert_released(source: Path, target: Path) -> None:
    """Convert a released checkpoint to the layout of `from_pretrained`.

    Every tensor is used or known to be unused. The head of the language model, which only text
    answers need, gets a file of its own; the unused ones, the authors' small files and a manifest
    (SHA-256 of what was read, and where each tensor stood) go to `target/released`.

    Args:
        source: folder with config.json, safetensors and tokenizer files.
        target: new or empty folder.

    Raises:
        ModelError: a file or tensor is missing, extra, pickled, damaged or of another shape.
    """
    described = read_config(source)
    tensors = TensorFolder(source)
    config = describe(described, tensors.shapes)
    processor = _processor(source, config)
    check_head(tensors, config, words=len(processor.tokenizer))
    _check_unused(tensors, config)
    convert_weights(tensors, target, config)
    processor.save_pretrained(target)
    save({HEAD: tensors.read(HEAD)}, target / HEAD_FILE)
    _keep_for_the_way_back(tensors, target / RELEASED, config)


def convert_weights(tensors: TensorFolder, target: Path, config: InstructSegConfig) -> None:
    """Write a released checkpoint's tensors and the configuration for `from_pretrained`.

    Raises:
        ModelError: a tensor is missing, extra or of another shape than the configuration says.
    """
    check_target(target)
    places = places_of(tensors, config)
    _check(places, tensors, config)
    target.mkdir(parents=True, exist_ok=True)
    sizes = {ours: tensors.bytes_of(name) // parts for ours, (name, _, parts) in places.items()}

    def read(ours: str) -> torch.Tensor:
        name, part, parts = places[ours]
        return tensors.read_part(name, part, parts) if parts > 1 else tensors.read(name)

    write_shards(target, sizes, read)
    config.architectures = [InstructSegModel.__name__]
    config.dtype = torch.float32
    config.language_dtype = _HALF.get(tensors.dtype_of(EMBEDDINGS))
    config.save_pretrained(target)


def restore_released(source: Path, target: Path) -> None:
    """Write the authors' layout back from a folder that `convert_released` made.

    Files are bit-identical to those converted as long as no weight was changed.

    Raises:
        ModelError: the folder was not made by `convert_released`, or the target is not empty.
    """
    kept = source / RELEASED
    if not (kept / MANIFEST).is_file():
        raise ModelError(f'{source} has no {RELEASED}/{MANIFEST}: only a converted release has.')
    check_target(target)
    manifest = _read_manifest(kept)
    target.mkdir(parents=True, exist_ok=True)
    config = InstructSegConfig.from_pretrained(source)
    layers = config.vision_config.num_hidden_layers
    ours, head = TensorFolder(source), TensorFolder(source, [HEAD_FILE])
    unused = TensorFolder(kept, [_UNUSED])

    def read(name: str) -> torch.Tensor:
        parts = our_names(name, vision_layers=layers)
        if len(parts) == 1:
            return ours.read(parts[0])
        if parts:
            return torch.cat([ours.read(part) for part in parts])
        return (head if name == HEAD else unused).read(name)

    for file, shard in manifest['shards'].items():
        # One shard's tensors at a time.
        save({n: read(n) for n in shard['tensors']}, target / file, shard['metadata'])
    for file in manifest['sha256']:
        if file not in manifest['shards']:
            shutil.copyfile(kept / file, target / file)


def places_of(tensors: TensorFolder, config: InstructSegConfig) -> dict[str, tuple[str, int, int]]:
    """Our name -> (released tensor, which of its parts, how many it has).

    Raises:
        ModelError: the released layout has no such tensor, or two for one place.
    """
    layers = config.vision_config.num_hidden_layers
    places: dict[str, tuple[str, int, int]] = {}
    unknown = []
    for name in tensors.shapes:
        try:
            parts = our_names(name, vision_layers=layers)
        except KeyError:
            unknown.append(name)
            continue
        if taken := [places[ours][0] for ours in parts if ours in places]:
            raise ModelError(_says(tensors, 'two tensors for one place', [taken[0], name]))
        places |= {ours: (name, index, len(parts)) for index, ours in enumerate(parts)}
    if unknown:
        raise ModelError(_says(tensors, 'tensors that InstructSeg does not have', unknown))
    return places


def _check(
    places: Mapping[str, tuple[str, int, int]], tensors: TensorFolder, config: InstructSegConfig
) -> None:
    wanted = expected_shapes(config)
    check_names(places, tensors, known=wanted, wanted=wanted)
    misfits = {}
    for ours, (name, _, parts) in places.items():
        rows, *rest = wanted[ours]
        if tensors.shapes[name] != (rows * parts, *rest):
            misfits[name] = f'{name} {tensors.shapes[name]} in place of {(rows * parts, *rest)}'
    if misfits:
        raise ModelError(_says(tensors, 'tensors of another shape', list(misfits.values())))


def check_names(
    places: Mapping[str, tuple[str, int, int]],
    tensors: TensorFolder,
    *,
    known: Collection[str],
    wanted: Iterable[str],
) -> None:
    """Compare what `places_of` gave with names that a model has.

    Raises:
        ModelError: a name is not among the known ones, or a wanted one is missing.
    """
    if extra := list(dict.fromkeys(places[ours][0] for ours in places if ours not in known)):
        raise ModelError(_says(tensors, 'tensors that InstructSeg does not have', extra))
    if missing := [ours for ours in wanted if ours not in places]:
        raise ModelError(_says(tensors, 'no tensors for', missing))


def check_head(tensors: TensorFolder, config: InstructSegConfig, *, words: int) -> None:
    """Raise ModelError where there is no head, or it or the embeddings lack rows for all words."""
    if HEAD not in tensors.shapes:
        raise ModelError(_says(tensors, 'no tensors for', [HEAD]))
    for name in (HEAD, EMBEDDINGS):
        shape = tensors.shapes[name]
        if len(shape) != 2 or shape[0] < words or shape[1] != config.hidden_size:
            problem = f'{name} {shape} in place of at least ({words}, {config.hidden_size})'
            raise ModelError(_says(tensors, 'tensors of another shape', [problem]))


def _check_unused(tensors: TensorFolder, config: InstructSegConfig) -> None:
    wanted = unused_shapes(config)
    used = {name for name, _, _ in places_of(tensors, config).values()}
    mine = tensors.shapes.keys() - used - {HEAD}
    if extra := sorted(mine - wanted.keys()):
        raise ModelError(_says(tensors, 'tensors that InstructSeg does not have', extra))
    if missing := sorted(wanted.keys() - mine):
        raise ModelError(_says(tensors, 'no tensors for', missing))
    misfits = [
        f'{name} {tensors.shapes[name]} in place of {wanted[name]}'
        for name in sorted(mine) if tensors.shapes[name] != wanted[name]
    ]  # fmt: skip
    if misfits:
        raise ModelError(_says(tensors, 'tensors of another shape', misfits))


def _says(tensors: TensorFolder, problem: str, names: Sequence[str]) -> str:
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return (
        f'{tensors.folder} has {problem}: {", ".join(names[:_NAMED])}{more}. It is not the '
        'released checkpoint, or not whole: copy or download it again.'
    )


def processor_of(
    tokenizer: PreTrainedTokenizerFast, config: InstructSegConfig
) -> InstructSegProcessor:
    """The processor of a model in the released layout."""
    tokenizer.clean_up_tokenization_spaces = False  # of no meaning to this tokenizer, but warned of
    sizes = ProcessorConfig.of_model(config, mask_size=_CANVAS, prompts=RELEASED_PROMPTS)
    return InstructSegProcessor(tokenizer, sizes)


def read_tokenizer(source: Path) -> PreTrainedTokenizerFast:
    """A checkpoint's tokenizer.

    Raises:
        ModelError: it does not load.
    """
    try:
        return PreTrainedTokenizerFast.from_pretrained(source, local_files_only=True)
    except Exception as error:  # what a damaged file raises is up to two libraries
        raise ModelError(
            f'{source} has no tokenizer that loads ({first_line(error)}): copy tokenizer.json and '
            'tokenizer_config.json of the checkpoint into it.'
        ) from error


def _processor(source: Path, config: InstructSegConfig) -> InstructSegProcessor:
    tokenizer = read_tokenizer(source)
    if tokenizer.convert_tokens_to_ids(SEG_TOKEN) in (None, tokenizer.unk_token_id):
        raise ModelError(f'the tokenizer in {source} has no {SEG_TOKEN}: copy added_tokens.json '
                         'and tokenizer.json of the checkpoint.')  # fmt: skip
    return processor_of(tokenizer, config)


def _keep_for_the_way_back(tensors: TensorFolder, kept: Path, config: InstructSegConfig) -> None:
    kept.mkdir()
    layers = config.vision_config.num_hidden_layers
    unused = [
        name for name in tensors.shapes
        if name != HEAD and not our_names(name, vision_layers=layers)
    ]  # fmt: skip
    save({name: tensors.read(name) for name in unused}, kept / _UNUSED)
    small = [file.name for file in _small_files(tensors)]
    for file in small:
        shutil.copyfile(tensors.folder / file, kept / file)
    shards = {
        file: {
            'metadata': tensors.metadata(file),
            'tensors': [name for name, where in tensors.file_of.items() if where == file],
        }
        for file in tensors.files
    }
    hashes = {file: sha256(tensors.folder / file) for file in [*small, *tensors.files]}
    manifest = {'sha256': hashes, 'shards': shards}
    (kept / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')


def _read_manifest(kept: Path) -> dict[str, Any]:
    manifest = read_json(kept / MANIFEST)
    try:
        files = [*manifest['shards'], *manifest['sha256']]
        tensors = [name for shard in manifest['shards'].values() for name in shard['tensors']]
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f'{kept / MANIFEST} is damaged: convert the release again.') from error
    if not tensors or any(Path(file).name != file for file in files):
        raise ModelError(f'{kept / MANIFEST} is damaged: convert the release again.')
    return manifest


def _small_files(tensors: TensorFolder) -> Iterable[Path]:
    """Everything of a checkpoint that is text."""
    return (f for f in sorted(tensors.folder.iterdir()) if f.suffix in ('.json', '.txt', '.md'))
