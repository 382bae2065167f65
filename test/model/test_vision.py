from __future__ import annotations

import copy

import torch
from small_models import compact_config, released_config, scramble
from transformers.models.siglip.modeling_siglip import SiglipVisionModel

from instructseg_ros.model.vision import ConvolutionalStem, Projector, VisionTower


@torch.no_grad()
def test_the_tower_is_siglip_up_to_its_last_layer_but_one_without_norm() -> None:
    config = released_config()
    torch.manual_seed(0)
    one_more = copy.deepcopy(config.vision_config)
    one_more.num_hidden_layers += 1
    siglip = SiglipVisionModel(one_more).eval()
    scramble(siglip)
    tower = VisionTower(config).eval()
    own = {name: value for name, value in siglip.state_dict().items() if name in tower.state_dict()}
    tower.load_state_dict(own)
    pictures = torch.randn(2, 3, 60, 60)
    states = siglip(pictures, output_hidden_states=True).hidden_states
    assert torch.allclose(tower(pictures), states[-2], atol=1e-5)
    assert not any('post_layernorm' in name or 'head' in name for name in tower.state_dict())


@torch.no_grad()
def test_rows_and_columns_beyond_the_last_patch_are_not_seen() -> None:
    tower = VisionTower(released_config()).eval()
    scramble(tower)
    pictures = torch.randn(1, 3, 60, 60, generator=torch.Generator().manual_seed(0))
    cropped = pictures.clone()
    cropped[..., 56:, :] = 9
    cropped[..., 56:] = 9
    assert torch.equal(tower(pictures), tower(cropped))


@torch.no_grad()
def test_a_convolutional_stem_makes_the_same_number_of_tokens() -> None:
    config = compact_config()
    tower = VisionTower(config).eval()
    assert isinstance(tower.embeddings.patch_embedding, ConvolutionalStem)
    tokens = tower(torch.zeros(2, 3, 64, 64))
    assert tokens.shape == (2, config.image_tokens, config.vision_config.hidden_size)


def test_gradients_reach_every_parameter_of_the_tower() -> None:
    tower = VisionTower(compact_config())
    tower(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert [name for name, p in tower.named_parameters() if p.grad is None] == []


@torch.no_grad()
def test_the_projector_is_two_linear_layers_around_an_exact_gelu() -> None:
    projector = Projector(released_config())
    x = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    hidden = x @ projector[0].weight.T + projector[0].bias
    exact = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    expected = exact @ projector[2].weight.T + projector[2].bias
    assert torch.allclose(projector(x), expected, atol=1e-6)


@torch.no_grad()
def test_the_projector_ends_with_a_norm_if_the_configuration_enables_it() -> None:
    tokens = Projector(compact_config())(torch.randn(3, 16))
    assert torch.allclose(tokens.mean(dim=-1), torch.zeros(3), atol=1e-5)
    assert torch.allclose(tokens.std(dim=-1, correction=0), torch.ones(3), atol=1e-2)
