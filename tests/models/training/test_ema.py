import pytest
import torch

from codec_models.training.ema import growing_memory, make_average


def test_the_average_forgets_the_initial_weights_soon_and_then_has_the_memory_of_its_decay():
    update = growing_memory(0.9)
    for updates, expected in ((0, 0.9), (10**6, 0.1)):
        averages = [torch.zeros(3)]
        update(averages, [torch.ones(3)], torch.tensor(updates))
        assert averages[0][0] == pytest.approx(expected)


def test_the_average_follows_weights_by_its_rule_and_copies_buffers():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average = make_average(model, decay=0.9)
    expected: list[torch.Tensor] = []
    for updates in range(20):
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
        model(torch.randn(4, 3))
        average.update_parameters(model)
        weights = [parameter.detach().clone() for parameter in model.parameters()]
        decay = min(0.9, (1 + updates) / (10 + updates)) if updates else 0.0  # the first update copies
        previous = expected or weights
        expected = [decay * a + (1 - decay) * b for a, b in zip(previous, weights, strict=True)]
    for result, value in zip(average.module.parameters(), expected, strict=True):
        torch.testing.assert_close(result.detach(), value)
    for result, value in zip(average.module.buffers(), model.buffers(), strict=True):
        assert torch.equal(result, value)
