"""Converts the authors' checkpoint to this package's layout, and back."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.conversion.released_layout import (
    describe,
    expected_shapes,
    our_names,
    remedy,
)
from instructseg_ros.model.conversion.source import (
    CONFIG,
    check_target,
    copy_companions,
    find_companions,
    read_config,
    read_json,
    stays_inside,
)
from instructseg_ros.model.conversion.tensors import TensorFolder, save, write_shards
from instructseg_ros.model.model_files import (
    HEAD,
    HEAD_FILE,
    ModelError,
    first_line,
    refuse_pointers,
    sha256,
)
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.tasks import RELEASED as RELEASED_PROMPTS
from instructseg_ros.model.tasks import SEG_TOKEN

_TOWER = 'model.vision_tower.vision_model.'


def unused_shapes(config: InstructSegConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each such tensor but the language model's head, under the authors' names."""
    return {**_last_vision_layers(config), **_swin_indices(config), **_queries(config)}


def _last_vision_layers(config: InstructSegConfig) -> dict[str, tuple[int, ...]]:
    """The layer after the last one that is read, the norm after it and the pooling head."""
    vision = config.vision_config
    width, inner = vision.hidden_size, vision.intermediate_size
    layer = f'{_TOWER}encoder.layers.{vision.num_hidden_layers}.'
    head = f'{_TOWER}head.'
    return {
        **_norm(f'{layer}layer_norm1', width),
        **_norm(f'{layer}layer_norm2', width),
        **{
            name: shape
            for part in ('q_proj', 'k_proj', 'v_proj', 'out_proj')
            for name, shape in _linear(f'{layer}self_attn.{part}', width, width).items()
        },
        **_linear(f'{layer}mlp.fc1', width, inner),
        **_linear(f'{layer}mlp.fc2', inner, width),
        **_norm(f'{_TOWER}post_layernorm', width),
        f'{head}probe': (1, 1, width),
        f'{head}attention.in_proj_weight': (3 * width, width),
        f'{head}attention.in_proj_bias': (3 * width,),
        **_linear(f'{head}attention.out_proj', width, width),
        **_norm(f'{head}layernorm', width),
        **_linear(f'{head}mlp.fc1', width, inner),
        **_linear(f'{head}mlp.fc2', inner, width),
    }


def _swin_indices(config: InstructSegConfig) -> dict[str, tuple[int, ...]]:
    swin = config.mask_config.backbone_config
    cells = swin.window_size**2
    return {
        f'model.vision_tower_mask.layers.{stage}.blocks.{block}.attn.relative_position_index': (
            cells,
            cells,
        )
        for stage, depth in enumerate(swin.depths)
        for block in range(depth)
    }


def _queries(config: InstructSegConfig) -> dict[str, tuple[int, ...]]:
    width, count = config.mask_config.hidden_dim, config.num_queries
    return {
        'predictor.query_feat.weight': (count, width),
        'predictor.SEG_query_embed.weight': (count + 1, width),
    }


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


# Our name -> (released tensor, which of its parts, how many it has).
Places: TypeAlias = 'Mapping[str, tuple[str, int, int]]'

RELEASED: Final = 'released'  # the folder of what only the way back needs
MANIFEST: Final = 'manifest.json'
UNUSED: Final = 'unused.safetensors'
COMPANIONS: Final = 'files'  # the folder of those that are no weights
_CANVAS: Final = (1024, 1024)
_NAMED: Final = 5  # tensors in an error
_LISTED: Final = 100  # tensors or files in a warning
EMBEDDINGS: Final = 'model.embed_tokens.weight'
_HALF: Final = {'F16': 'float16', 'BF16': 'bfloat16'}

_log = logging.getLogger(__name__)


def convert_released(source: Path, target: Path) -> None:
    """Convert a released checkpoint to the layout of `from_pretrained`.

    The head of the language model, which only text answers need, gets a file of its own. What only
    the way back needs goes to `target/released`: tensors that segmentation does not use or that
    this package does not know (one warning lists the latter), files that are no weights, and a
    manifest (SHA-256 of every file, and which tensors each held).

    Args:
        source: folder with config.json, safetensors and tokenizer files.
        target: new or empty folder.

    Raises:
        ModelError: a file is missing, pickled or damaged, or a tensor that is used is missing or of
            another shape.
    """
    described = read_config(source)
    tensors = TensorFolder(source)
    config = describe(described, tensors.shapes)
    processor = _processor(source, config)
    check_head(tensors, config, words=len(processor.tokenizer))
    companions, left = find_companions(source, tensors.files)
    used = convert_weights(tensors, target, config)
    processor.save_pretrained(target)
    save({HEAD: tensors.read(HEAD)}, target / HEAD_FILE)
    unused = [name for name in tensors.shapes if name not in used and name != HEAD]
    _keep_for_the_way_back(tensors, target / RELEASED, unused=unused, companions=companions)
    _report_unknown(tensors, target / RELEASED / UNUSED, unused, config)
    if left:
        _log.warning(
            '%s has files that are neither read nor kept for --reverse (%d): %s. They are pickled, '
            'weights in another format, or links to a folder or to nothing.',
            source,
            len(left),
            listed(left),
        )


def convert_weights(
    tensors: TensorFolder, target: Path, config: InstructSegConfig
) -> Collection[str]:
    """Write the tensors that are used and the configuration for `from_pretrained`.

    Returns:
        names of the released tensors that are used.

    Raises:
        ModelError: such a tensor is missing or of another shape than the configuration says.
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
    return {name for name, _, _ in places.values()}


def restore_released(source: Path, target: Path) -> None:
    """Write the authors' layout back from a folder that `convert_released` made.

    Files are bit-identical to those converted as long as no weight was changed; a warning lists
    those that are not.

    Raises:
        ModelError: the folder was not made by `convert_released`, or the target is not empty.
    """
    kept = source / RELEASED
    if not (kept / MANIFEST).is_file():
        raise ModelError(f'{source} has no {RELEASED}/{MANIFEST}: only a converted release has.')
    check_target(target)
    manifest = _read_manifest(kept)
    target.mkdir(parents=True, exist_ok=True)
    config = InstructSegConfig.from_pretrained(source, local_files_only=True)
    layers = config.vision_config.num_hidden_layers
    ours, head = TensorFolder(source), TensorFolder(source, [HEAD_FILE])
    unused = TensorFolder(kept, [UNUSED])

    def read(name: str) -> torch.Tensor:
        if name in unused.shapes:
            return unused.read(name)
        parts = [ours.read(part) for part in our_names(name, vision_layers=layers)]
        if len(parts) > 1:
            return torch.cat(parts)
        return parts[0] if parts else head.read(name)

    for file, shard in manifest['shards'].items():
        # One shard's tensors at a time.
        save({n: read(n) for n in shard['tensors']}, target / file, shard['metadata'])
    companions = [file for file in manifest['sha256'] if file not in manifest['shards']]
    copy_companions(companions, kept / COMPANIONS, target)
    if changed := [f for f, digest in manifest['sha256'].items() if sha256(target / f) != digest]:
        _log.warning(
            '%s has files that are not bit-identical to the converted ones: %s. Their weights were '
            'changed since, or the original files were written by another program.',
            target,
            listed(changed),
        )


def places_of(tensors: TensorFolder, config: InstructSegConfig) -> Places:
    """Where the model's tensors come from; those that it does not have are left out.

    Raises:
        ModelError: there are two tensors for one place.
    """
    layers = config.vision_config.num_hidden_layers
    known = expected_shapes(config)
    places: dict[str, tuple[str, int, int]] = {}
    for name in tensors.shapes:
        parts = our_names(name, vision_layers=layers)
        if not all(ours in known for ours in parts):
            continue
        if taken := [places[ours][0] for ours in parts if ours in places]:
            raise ModelError(_says(tensors, 'two tensors for one place', [taken[0], name]))
        places |= {ours: (name, index, len(parts)) for index, ours in enumerate(parts)}
    return places


def _check(places: Places, tensors: TensorFolder, config: InstructSegConfig) -> None:
    wanted = expected_shapes(config)
    check_places(places, tensors, wanted=wanted)
    misfits = {}
    for ours, (name, _, parts) in places.items():
        rows, *rest = wanted[ours]
        if tensors.shapes[name] != (rows * parts, *rest):
            misfits[name] = f'{name} {tensors.shapes[name]} in place of {(rows * parts, *rest)}'
    if misfits:
        raise ModelError(_says(tensors, 'tensors of another shape', list(misfits.values())))


def check_places(places: Places, tensors: TensorFolder, *, wanted: Iterable[str]) -> None:
    """Raise ModelError where there is no place for one of the model's tensors that are wanted."""
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


def unknown_tensors(
    tensors: TensorFolder, unused: Iterable[str], config: InstructSegConfig
) -> list[str]:
    """Those of the unused tensors that the release is not known to have, with their shapes."""
    known = unused_shapes(config)
    return [
        f'{name} {tensors.shapes[name]}'
        for name in unused
        if known.get(name) != tensors.shapes[name]
    ]


def _report_unknown(
    tensors: TensorFolder, kept: Path, unused: Iterable[str], config: InstructSegConfig
) -> None:
    if unknown := unknown_tensors(tensors, unused, config):
        _log.warning(
            '%s has tensors that InstructSeg does not use (%d): %s. They change no answer; %s '
            'keeps them for --reverse.',
            tensors.folder,
            len(unknown),
            listed(unknown),
            kept,
        )


def listed(names: Sequence[str], most: int = _LISTED) -> str:
    """Names for people, the first of them where there are many."""
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def _says(tensors: TensorFolder, problem: str, names: Sequence[str]) -> str:
    file = tensors.folder / CONFIG
    kind = read_json(file).get('model_type') if file.is_file() else None
    return (
        f'{tensors.folder} has {problem}: {listed(names, _NAMED)}. {remedy(kind, tensors.shapes)}'
    )


def processor_of(
    tokenizer: PreTrainedTokenizerFast, config: InstructSegConfig
) -> InstructSegProcessor:
    """The processor of a model in the released layout."""
    tokenizer.clean_up_tokenization_spaces = False  # of no meaning to this tokenizer, but warned of
    sizes = ProcessorConfig.from_model(config, mask_size=_CANVAS, prompts=RELEASED_PROMPTS)
    return InstructSegProcessor(tokenizer, sizes)


def read_tokenizer(source: Path) -> PreTrainedTokenizerFast:
    """A checkpoint's tokenizer.

    Raises:
        ModelError: it does not load.
    """
    refuse_pointers(source.glob('*.json'))
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
        raise ModelError(
            f'the tokenizer in {source} has no {SEG_TOKEN}: copy added_tokens.json '
            'and tokenizer.json of the checkpoint.'
        )
    return processor_of(tokenizer, config)


def _keep_for_the_way_back(
    tensors: TensorFolder, kept: Path, *, unused: Iterable[str], companions: Sequence[str]
) -> None:
    kept.mkdir()
    save({name: tensors.read(name) for name in unused}, kept / UNUSED)
    copy_companions(companions, tensors.folder, kept / COMPANIONS)
    shards = {
        file: {
            'metadata': tensors.metadata(file),
            'tensors': [name for name, where in tensors.file_of.items() if where == file],
        }
        for file in tensors.files
    }
    hashes = {file: sha256(tensors.folder / file) for file in [*companions, *tensors.files]}
    manifest = {'sha256': hashes, 'shards': shards}
    (kept / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')


def _read_manifest(kept: Path) -> dict[str, Any]:
    manifest = read_json(kept / MANIFEST)
    try:
        shards, files = [*manifest['shards']], [*manifest['sha256']]
        tensors = [name for shard in manifest['shards'].values() for name in shard['tensors']]
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f'{kept / MANIFEST} is damaged: convert the release again.') from error
    inside = all(stays_inside(file) for file in files)
    if not tensors or not inside or any(Path(shard).name != shard for shard in shards):
        raise ModelError(f'{kept / MANIFEST} is damaged: convert the release again.')
    return manifest
