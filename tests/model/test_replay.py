import torch

from reasonir.model.replay import replayed


def noisy(weight, seen):
    value = weight * torch.rand(4)
    seen.append(value.detach().clone())
    return value.sum() ** 2


def test_the_second_forward_pass_draws_what_the_first_drew():
    weight, seen = torch.ones(4, requires_grad=True), []
    replayed(noisy, weight, seen).backward()
    assert len(seen) == 2
    assert torch.equal(*seen)


def test_the_random_state_of_apple_silicon_is_replayed_and_restored(monkeypatch):
    """torch's own checkpoint does not replay MPS; its calls are recorded here on a machine without it."""
    calls, state = [], {"now": torch.tensor([1])}
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state["now"].clone())

    def restore(value):
        calls.append(int(value))
        state["now"] = value

    monkeypatch.setattr(torch.mps, "set_rng_state", restore)
    weight, seen = torch.ones(4, requires_grad=True), []
    loss = replayed(noisy, weight, seen)
    state["now"] = torch.tensor([7])  # the forward pass is over and other kernels have drawn since
    loss.backward()
    assert calls == [1, 7]
    assert torch.equal(*seen)
