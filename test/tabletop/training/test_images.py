from __future__ import annotations

import numpy as np
import torch
from small_scenes import SHAPE

from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.tabletop.training.images import mask_batch, random_crops, vision_batch
from instructseg_ros.tabletop.training.scene_store import DEPTH, EXISTS, SCALE, SceneStore, U, V

MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]


def images(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)


def test_images_equal_those_of_the_processor(processor: InstructSegProcessor) -> None:
    side = SHAPE.vision_size
    squashed = images(side, side)
    expected = torch.stack([processor.vision_values(image) for image in squashed])
    torch.testing.assert_close(vision_batch(squashed, None), expected)
    fitting = images(*SHAPE.mask_size)
    expected = torch.stack([processor.pixel_values(image) for image in fitting])
    torch.testing.assert_close(mask_batch(fitting, None), expected)


def test_augmented_images_stay_in_range() -> None:
    given = images(32, 48)
    torch.manual_seed(0)
    augmented = vision_batch(given, np.random.default_rng(0))
    assert augmented.shape == (3, 3, 32, 48)
    assert augmented.min() >= -1 and augmented.max() <= 1
    change = (augmented - vision_batch(given, None)).abs().mean(dim=(1, 2, 3))
    assert (change > 0.01).all() and (change < 0.3).all()
    raw = mask_batch(given, np.random.default_rng(0)) * STD + MEAN
    assert raw.min() > -0.01 and raw.max() < 255.01


def test_the_same_seeds_augment_equally() -> None:
    def augmented() -> torch.Tensor:
        torch.manual_seed(4)
        return mask_batch(images(8, 8), np.random.default_rng(5))

    assert torch.equal(augmented(), augmented())


def test_mirrored_views_are_converted_correctly() -> None:
    given = images(8, 12)
    assert torch.equal(vision_batch(given[:, :, ::-1], None), vision_batch(given, None).flip(-1))


INDICES = np.repeat([1, 4, 7], 8)


def test_crops_have_the_size_of_the_whole(store: SceneStore) -> None:
    images, objects, labels = random_crops(store, INDICES, np.random.default_rng(0), mirrored=False)
    side = store.shape.vision_size
    assert images.shape == (len(INDICES), side, side, 3) and images.dtype == np.uint8
    assert objects.shape == store.objects[INDICES].shape
    assert labels.shape == store.labels[INDICES].shape and labels.dtype == np.uint8


def test_some_images_stay_whole_and_others_are_cropped(store: SceneStore) -> None:
    images, objects, _ = random_crops(store, INDICES, np.random.default_rng(0), mirrored=False)
    same = (images == store.vision[INDICES, -1]).all(axis=(1, 2, 3))
    assert 0 < same.sum() < len(INDICES)
    whole = store.objects[INDICES]
    nearer = whole[:, 0, DEPTH] / objects[:, 0, DEPTH]
    assert (nearer[same] == 1).all()
    assert (nearer[~same] > 1).all() and (nearer[~same] < 1.51).all()
    assert (objects[..., SCALE] == whole[..., SCALE]).all()


def test_centres_lie_on_their_objects(store: SceneStore) -> None:
    for mirrored in (False, True):
        _, objects, labels = random_crops(
            store, INDICES, np.random.default_rng(1), mirrored=mirrored
        )
        whole = store.key_frames(INDICES, mirrored=mirrored)
        assert np.mean(_seen(objects, labels)) > np.mean(_seen(*whole)) - 0.1


def _seen(objects: np.ndarray, labels: np.ndarray) -> list[bool]:
    """Whether the label at the centre of each existing object is its own."""
    height, width = labels.shape[1:]
    return [
        labels[image, int(each[V] * height), int(each[U] * width)] == slot + 1
        for image, slots in enumerate(objects)
        for slot, each in enumerate(slots)
        if each[EXISTS]
    ]


def test_objects_outside_a_crop_are_absent(store: SceneStore) -> None:
    _, objects, _ = random_crops(store, INDICES, np.random.default_rng(0), mirrored=False)
    there = objects[objects[..., EXISTS] > 0]
    assert ((there[:, [U, V]] >= 0) & (there[:, [U, V]] < 1)).all()
    gone = (store.objects[INDICES][..., EXISTS] > 0) & (objects[..., EXISTS] == 0)
    assert gone.any()
