"""The benchmark of taught objects: instructions about them in cluttered scenes, and forgetting.

No training scene contains the objects. Instructions about other objects show whether a model
forgot something while it was taught.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from tqdm import tqdm

from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.taught_network import read_taught
from instructseg_ros.research.evaluation.metrics import intersection_over_union, mean
from instructseg_ros.research.evaluation.runner import Processes
from instructseg_ros.tabletop.benchmark import EVALUATION_SEED
from instructseg_ros.tabletop.instructions import TabletopInstruction, generate
from instructseg_ros.tabletop.instructions.category import labels
from instructseg_ros.tabletop.instructions.wording import Writer
from instructseg_ros.tabletop.shifts import observe_shifted
from instructseg_ros.tabletop.taught_cases import GOALS, TOUCHING, TaughtCase, taught_cases
from instructseg_ros.tabletop.world.arrangement import random_scene
from instructseg_ros.tabletop.world.catalogue import NOVEL_CATEGORIES, OBJECT_CATEGORIES
from instructseg_ros.tabletop.world.scene import Scene
from instructseg_ros.tabletop.world.scene_graph import SceneGraph
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop

TAUGHT_SEED: Final = 960_000  # below the seeds of training scenes, above those of calibration
MAX_LOSS: Final = 0.01  # of the mean IoU of any ordinary category
_ABSENT: Final = ('absent', 'absent color')
_WITHOUT_NOVEL: Final = 5  # one scene in five has no novel object
_CARRIED_SHARE: Final = 0.2  # extra scenes of each category on, and in, another object
_MAX_TRIES: Final = 40  # scenes drawn for each extra one
_ORDINARY_PER_SCENE: Final = 6
_SIZE: Final = (640, 480)

T = TypeVar('T')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TaughtFrame:
    """A frame with the instructions about it.

    Attributes:
        scene: Seed of the scene.
        earlier: (H, W, 3) uint8 RGB reference frames, oldest first.
        observation: The frame with its truth.
        cases: The instructions.
    """

    scene: int
    earlier: Sequence[np.ndarray]
    observation: Observation
    cases: Sequence[TaughtCase]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaughtAnswer:
    """The model's answer to an instruction about a taught category.

    Attributes:
        scene: Seed of the scene.
        group: A key of `GOALS`.
        category: The category.
        detail: The color, superlative or relation; '' for none.
        instruction: The instruction.
        is_plain: Whether it has the plainest wording.
        iou: IoU with the true mask, 0 if nothing was found; None for an absent target.
        found: Whether the model reports a target.
        score: Score of the mask.
    """

    scene: int
    group: str
    category: str
    detail: str
    instruction: str
    is_plain: bool
    iou: float | None
    found: bool
    score: float


def taught_categories(folder: Path) -> list[str]:
    """Return the novel categories that the model in a folder was taught.

    Raises:
        ValueError: There are none.
    """
    names = [noun.name for noun in read_taught(folder)]
    if categories := [name for name in names if name in NOVEL_CATEGORIES]:
        return categories
    known = ', '.join(names) or 'nothing'
    raise ValueError(
        f'{folder} was taught {known}, and the simulated scenes have {", ".join(NOVEL_CATEGORIES)}:'
        ' name the folder of a model that was taught one of them, or evaluate it on pictures with '
        '"instructseg evaluate examples"'
    )


def taught_scene(seed: int) -> Scene:
    """Draw a scene of the benchmark; one in five has no novel object."""
    novel = () if seed % _WITHOUT_NOVEL == _WITHOUT_NOVEL - 1 else NOVEL_CATEGORIES
    return random_scene(seed, novel)


def carried_seeds(categories: Sequence[str], scenes: int) -> list[int]:
    """Return seeds of extra scenes in which a taught object lies on or in another one.

    They are rare, so that ordinary scenes do not show enough of them.

    Args:
        categories: The taught categories.
        scenes: Number of scenes to which these are added.
    """
    wanted = round(_CARRIED_SHARE * scenes)
    missing = {(category, where): wanted for category in categories for where in TOUCHING}
    start, chosen = TAUGHT_SEED + scenes, []
    for seed in range(start, start + _MAX_TRIES * scenes):
        if not any(missing.values()):
            break
        new = [each for each in _carried(taught_scene(seed)) if missing.get(each)]
        for each in new:
            missing[each] = max(0, missing[each] - 1)
        chosen += [seed] if new else []
    return chosen


def _carried(scene: Scene) -> Iterator[tuple[str, str]]:
    """Yield the category of every object that lies 'on' or 'inside' another one."""
    for obj in scene.objects:
        if obj.on is not None or obj.inside is not None:
            yield obj.entry.category, 'inside' if obj.on is None else 'on'


def taught_frames(
    tabletop: Tabletop,
    categories: Sequence[str],
    seeds: Iterable[int],
    *,
    times: Sequence[float] = (0.0,),
    groups: Iterable[str] = tuple(GOALS),
) -> Iterator[TaughtFrame]:
    """Render frames that offer instructions.

    Args:
        tabletop: The camera.
        categories: The taught categories. Those of which an object is hardly visible are left out.
        seeds: Seeds of the scenes.
        times: Times of the frames, relative to a random one, s; only the last one has truth.
        groups: Keys of `GOALS`.
    """
    groups = tuple(groups)
    for seed in seeds:
        rng = np.random.default_rng((seed, 2))
        scene, start = taught_scene(seed), rng.uniform(0, 4)
        tabletop.show(scene)
        frame = tabletop.observe(start + times[-1])
        unclear = _hardly_visible(scene, frame)
        cases = [
            case
            for category in categories
            if category not in unclear
            for case in taught_cases(frame.graph, category, rng, groups)
        ]
        if cases:
            earlier = [tabletop.observe(start + time, truth=False).rgb for time in times[:-1]]
            yield TaughtFrame(scene=seed, earlier=earlier, observation=frame, cases=cases)


def _hardly_visible(scene: Scene, frame: Observation) -> set[str]:
    """Return the categories of objects with visible pixels that are not in the scene graph."""
    missing = {*np.unique(frame.labels)} - labels(frame.graph)
    return {obj.entry.category for obj in scene.objects if obj.label in missing}


def evaluate_taught(
    segmenter: Segmenter,
    categories: Sequence[str],
    *,
    scenes: int,
    processes: Processes,
    all_wordings: bool = False,
    size: tuple[int, int] = _SIZE,
) -> dict[str, Any]:
    """Evaluate a model with instructions about taught categories.

    Args:
        segmenter: The model.
        categories: The taught categories, see `taught_categories`.
        scenes: Number of scenes; more are added for objects that lie on or in another one.
        processes: The processes that share the scenes.
        all_wordings: Ask each question in a wording of the training, too.
        size: (width, height) of the camera, pixels.

    Returns:
        `plain`, and with `all_wordings` also `trained`: for each category and group the mean IoU
        and the share of IoUs of 0 or, for absent targets, the share that is right; and `rows`, all
        answers.
    """
    ordinary = range(TAUGHT_SEED, TAUGHT_SEED + scenes)
    extra = carried_seeds(categories, scenes)
    parts = ('taught objects', ordinary, tuple(GOALS)), ('in or on', extra, ('in or on',))
    answers: list[TaughtAnswer] = []
    with Tabletop(width=size[0], height=size[1]) as tabletop:
        for title, seeds, groups in parts:
            mine = tqdm(seeds[processes.rank :: processes.count], title)
            times = _times(segmenter)
            for frame in taught_frames(tabletop, categories, mine, times=times, groups=groups):
                answers += _ask(segmenter, frame, all_wordings=all_wordings)
    answers = processes.gather(answers)
    figures = {'plain': report(answers, categories, is_plain=True)}
    if all_wordings:
        figures['trained'] = report(answers, categories, is_plain=False)
    return {
        **figures,
        'model': segmenter.name,
        'threshold': segmenter.threshold,
        'scenes': scenes,
        'extra_scenes': len(extra),
        'rows': [dataclasses.asdict(answer) for answer in answers],
    }


def _times(segmenter: Segmenter) -> list[float]:
    """Return the times of the reference frames and of the frame, s."""
    return [i * segmenter.reference_stride for i in range(segmenter.reference_frames + 1)]


def _ask(segmenter: Segmenter, frame: TaughtFrame, *, all_wordings: bool) -> Iterator[TaughtAnswer]:
    graph, rgb = frame.observation.graph, frame.observation.rgb
    asked = [(case, case.text, True) for case in frame.cases]
    if all_wordings:
        writer = Writer(graph, np.random.default_rng((frame.scene, 3)), held_out=False)
        asked += [(case, case.write(writer=writer).text, False) for case in frame.cases]
    texts = [text for _, text, _ in asked]
    predictions = _predict(segmenter, frame.earlier, rgb, texts)
    for (case, text, is_plain), prediction in zip(asked, predictions, strict=True):
        absent = case.group in _ABSENT
        yield TaughtAnswer(
            scene=frame.scene,
            group=case.group,
            category=case.category,
            detail=case.detail,
            instruction=text,
            is_plain=is_plain,
            iou=None if absent else _overlap(prediction, frame.observation, case.targets),
            found=bool(prediction.found),
            score=float(prediction.score),
        )


def _predict(
    segmenter: Segmenter, earlier: Sequence[np.ndarray], rgb: np.ndarray, texts: Sequence[str]
) -> list[Prediction]:
    references = segmenter.encode(segmenter.aligned(earlier, rgb))
    return segmenter.segment_all(rgb, texts, references)


def _overlap(prediction: Prediction, frame: Observation, targets: Iterable[int]) -> float:
    """Return the IoU with the true mask; 0 if nothing was found."""
    assert frame.labels is not None
    truth = np.isin(frame.labels, list(targets))
    return intersection_over_union(prediction.mask, truth) if prediction.found else 0.0


def report(
    answers: Iterable[TaughtAnswer], categories: Sequence[str], *, is_plain: bool
) -> dict[str, Any]:
    """Compute the figures of each category and group; see `evaluate_taught`."""
    sorted_answers = defaultdict(list)
    for answer in answers:
        if answer.is_plain == is_plain:
            sorted_answers[answer.category, answer.group].append(answer)
    return {
        category: {group: _cell(sorted_answers[category, group], group) for group in GOALS}
        for category in categories
    }


def _cell(answers: Sequence[TaughtAnswer], group: str) -> dict[str, Any]:
    if group in _ABSENT:
        return {'right': mean([not answer.found for answer in answers]), 'n': len(answers)}
    overlaps = [answer.iou or 0.0 for answer in answers]
    missed = mean([overlap == 0.0 for overlap in overlaps])
    return {'iou': mean(overlaps), 'missed': missed, 'n': len(answers)}


def evaluate_forgetting(
    before: Segmenter,
    after: Segmenter,
    *,
    scenes: int,
    processes: Processes,
    size: tuple[int, int] = _SIZE,
) -> dict[str, Any]:
    """Compare two models with the same attribute instructions about ordinary objects.

    Args:
        before: The model that `after` was taught from.
        after: The taught model.
        scenes: Number of scenes; none has a novel object.
        processes: The processes that share the scenes.
        size: (width, height) of the camera, pixels.

    Returns:
        `categories` with the mean IoU `before` and `after`, their difference `loss` and the number
        of instructions for each category; `largest_loss` of a category; and `rows`, all IoUs.
    """
    seeds = range(EVALUATION_SEED, EVALUATION_SEED + scenes)[processes.rank :: processes.count]
    rows: list[dict[str, Any]] = []
    with Tabletop(width=size[0], height=size[1]) as tabletop:
        for seed in tqdm(seeds, 'forgetting'):
            rows += _compare(before, after, tabletop, seed)
    rows = processes.gather(rows)
    categories = {}
    for category in OBJECT_CATEGORIES:
        mine = [row for row in rows if row['category'] == category]
        means = {name: mean([row[name] for row in mine]) for name in ('before', 'after')}
        loss = means['before'] - means['after']
        categories[category] = {**means, 'loss': loss, 'n': len(mine)}
    return {
        'categories': categories,
        'largest_loss': max((one['loss'] for one in categories.values() if one['n']), default=0.0),
        'model': before.name,
        'scenes': scenes,
        'rows': rows,
    }


def _compare(
    before: Segmenter, after: Segmenter, tabletop: Tabletop, seed: int
) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng((seed, 2))
    start = rng.uniform(0, 4)
    frames = observe_shifted(tabletop, seed, [start + time for time in _times(after)])
    earlier, frame = [each.rgb for each in frames[:-1]], frames[-1]
    instructions = _ordinary_instructions(frame.graph, rng)
    if not instructions:
        return
    texts = [*instructions]
    answers = [_predict(model, earlier, frame.rgb, texts) for model in (before, after)]
    categories = {obj.label: obj.category for obj in frame.graph}
    for text, one, two in zip(texts, *answers, strict=True):
        [target] = instructions[text].targets
        yield {
            'scene': seed,
            'category': categories[target],
            'instruction': text,
            'before': _overlap(one, frame, [target]),
            'after': _overlap(two, frame, [target]),
        }


def _ordinary_instructions(
    graph: SceneGraph, rng: np.random.Generator
) -> dict[str, TabletopInstruction]:
    """Return different instructions about single objects, by text."""
    drawn = (generate(graph, rng, category='attribute') for _ in range(_ORDINARY_PER_SCENE))
    return {one.text: one for one in drawn if one is not None}


def table(figures: dict[str, Any]) -> str:
    """Format the figures of `evaluate_taught` as tables; a star marks figures below their goal."""
    titles = {'plain': 'plainest wording', 'trained': 'wordings of the training'}
    lines = []
    for part, title in titles.items():
        if part in figures:
            lines += [*_rows(figures[part], title), '']
    lines.append('IoU: 0 where nothing was found; absent: share that is not found; *: below goal')
    if 'forgetting' in figures:
        lines += ['', *_forgetting_rows(figures['forgetting'])]
    return '\n'.join(lines)


def _rows(part: dict[str, Any], title: str) -> Iterator[str]:
    yield f'{title:26}{"goal":>6}' + ''.join(f'{category:>24}' for category in part)
    yield ' ' * 32 + f'{"IoU":>10} {"missed":>7}{"n":>6}' * len(part)
    for group, goal in GOALS.items():
        cells = (_formatted(part[category][group], goal) for category in part)
        shown = '' if goal is None else f'{goal:.2f}'
        yield f'{group:26}{shown:>6}' + ''.join(cells)


def _formatted(cell: dict[str, Any], goal: float | None) -> str:
    if not cell['n']:
        return f'{"-":>10} {"":7}{0:6}'
    value = cell['right' if 'right' in cell else 'iou']
    mark = '*' if goal is not None and value < goal else ' '
    missed = f'{cell["missed"]:.3f}' if 'missed' in cell else ''
    return f'{value:9.3f}{mark} {missed:>7}{cell["n"]:6}'


def _forgetting_rows(figures: dict[str, Any]) -> Iterator[str]:
    yield f'{"ordinary objects":26}{"before":>8}{"after":>8}{"loss":>8}{"n":>6}'
    for category, cell in figures['categories'].items():
        values = (cell[name] for name in ('before', 'after', 'loss'))
        parts = ''.join(f'{value:8.3f}' if cell['n'] else f'{"-":>8}' for value in values)
        yield f'{category:26}{parts}{cell["n"]:6}'
    mark = '*' if figures['largest_loss'] > MAX_LOSS else ''
    yield f'largest loss: {figures["largest_loss"]:.4f}{mark} (goal: at most {MAX_LOSS})'
