import pytest
import torch

from reasonir.training.gradients import clip, unscale


def parameters():
    given = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    given[0].grad, given[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, -4.0])
    return given


@pytest.mark.parametrize(
    ("limit", "by", "expected"),
    [
        (None, None, [[3, 0], [0, -4]]),
        (0.0, "norm", [[3, 0], [0, -4]]),
        (50.0, None, [[3, 0], [0, -4]]),
        (2.5, None, [[1.5, 0], [0, -2]]),
        (2.5, "norm", [[1.5, 0], [0, -2]]),
        (3.5, "value", [[3, 0], [0, -3.5]]),
    ],
)
def test_gradients_are_clipped_by_norm_or_value_and_their_norm_is_that_before(limit, by, expected):
    given = parameters()
    assert clip(None, given, limit, by).item() == 5.0
    torch.testing.assert_close([each.grad for each in given[:2]], [torch.tensor(each).float() for each in expected])
    assert given[2].grad is None


def test_a_norm_that_is_not_finite_is_returned(caplog):
    given = parameters()
    given[0].grad[1] = torch.inf
    assert clip(None, given, 1.0, None).item() == torch.inf


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_are_unscaled_once_whatever_the_optimiser_does_itself(fused):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(weight.sum()).backward()
    if not fused:
        scaler.unscale_(optimizer)  # as Lightning does before it calls us
    unscale(scaler, optimizer)
    assert weight.grad.tolist() == [1.0, 1.0]
    unscale(None, optimizer)
