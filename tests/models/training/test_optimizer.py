import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from codec_models.networks.architecture import Architecture
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import CONTEXT_MAX, companded
from codec_models.networks.integer import clip_through
from codec_models.networks.layers import Block
from codec_models.training.optimizer import MovingAverage, average_rule, flushed_denormals, parameter_groups
from codec_models.training.recipe import Recipe

SMALL = Architecture(
    latents=16, hyper_latents=8, width8=16, width16=16, hyper_width=16, parameter_width=16, context_width=16, anchors=3
)


def test_every_parameter_learns_in_exactly_one_group():
    model = CompressionModel(SMALL)
    groups = {group["name"]: group["params"] for group in parameter_groups(model)}
    found = [id(p) for parameters in groups.values() for p in parameters]
    assert sorted(found) == sorted(id(p) for p in model.parameters())
    assert any(p is model.g_a.stem.weight for p in groups["rotation"])
    assert any(p is model.gain.log_scale for p in groups["transform"])
    assert any(p is model.h_a.stem.weight for p in groups["entropy"])


def test_transforms_wait_for_the_entropy_model_and_all_decay():
    recipe = Recipe()
    early = recipe.transforms_from / 2
    assert recipe.learning_rate_at(early, "entropy") > 0 == recipe.learning_rate_at(early, "transform")
    assert recipe.learning_rate_at(0.25, "rotation") == pytest.approx(recipe.learning_rate * recipe.rotation_rate)
    for group, share in (("entropy", 1), ("transform", recipe.transform_rate)):
        assert recipe.learning_rate_at(1.0, group) == pytest.approx(recipe.learning_rate * share * recipe.final_rate)


def test_a_linear_decay_ends_where_a_geometric_one_does_and_is_higher_on_the_way():
    linear, geometric = (Recipe(decay=decay) for decay in ("linear", "geometric"))
    middle = (1 + linear.decay_from) / 2
    assert linear.learning_rate_at(middle) == pytest.approx(linear.learning_rate * (1 + linear.final_rate) / 2)
    assert linear.learning_rate_at(middle) > geometric.learning_rate_at(middle)
    for progress in (linear.decay_from, 1.0):
        assert linear.learning_rate_at(progress) == pytest.approx(geometric.learning_rate_at(progress))


def test_the_average_starts_with_the_weights_and_then_remembers():
    update = average_rule(0.9)
    averages = [torch.zeros(3)]
    update(averages, [torch.ones(3)], torch.tensor(0))
    assert averages[0][0] == pytest.approx(0.9)
    averages = [torch.zeros(3)]
    update(averages, [torch.ones(3)], torch.tensor(10**6))
    assert averages[0][0] == pytest.approx(0.1)


def test_averages_follow_as_those_of_torch():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    ours, theirs = (kind(model, multi_avg_fn=average_rule(0.9)) for kind in (MovingAverage, AveragedModel))
    for _ in range(5):
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
        model(torch.randn(4, 3))
        for average in (ours, theirs):
            average.update_parameters(model)
    for found, expected in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(found, expected)


def test_a_clipped_value_is_pulled_back_but_not_pushed_out():
    x = torch.tensor([-5.0, -5.0, 0.5, 9.0, 9.0], requires_grad=True)
    gradient = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])
    clipped = clip_through(x, 0.0, 3.0)
    clipped.backward(gradient)
    assert clipped.tolist() == [0, 0, 0.5, 3, 3]
    assert x.grad.tolist() == [0, -1, 1, 1, 0]


def test_companded_latents_are_integers_in_range_and_rise():
    decoded = torch.arange(-9000.0, 9001.0)
    found = companded(decoded, exact=True)
    assert torch.equal(found, found.round()) and found.abs().max() == CONTEXT_MAX
    assert (found.diff() >= 0).all()
    assert (companded(decoded, exact=False) - found).abs().max() <= 0.5


def test_a_block_starts_as_the_identity_and_sees_scaled_features():
    torch.manual_seed(0)
    block = Block(8, anchors=3)
    x, quality = torch.randn(1, 8, 5, 5), torch.tensor([0.3])
    assert torch.equal(block(x, quality), x)
    torch.nn.init.normal_(block.project.weight)
    added = block(x, quality) - x
    block.input_scale.fill_(2.0)
    doubled = block(x, quality) - x
    assert added.abs().max() > 0 and not torch.allclose(added, doubled)


def test_denormals_are_flushed_only_during_training():
    tiny = torch.tensor([1e-40])
    with flushed_denormals():
        assert float(tiny * 1.0) == 0
    assert float(tiny * 1.0) > 0
