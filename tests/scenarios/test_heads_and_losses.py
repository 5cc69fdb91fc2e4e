"""Every head with every loss: refused before anything loads, or trained by a loss that falls."""

import pytest
import torch

from reasonir.cli.check import problems
from reasonir.cli.configuration import build
from reasonir.distributed.ranks import Alone
from reasonir.engine.step import Budget, run_step
from tests.helpers import HEADS, batch_of, examples, load

ANY = ("bce", "mse", "kl", "listwise", "lambda", "ranknet", "margin_mse")
CONTRASTIVE = ("cached_contrastive", "symmetric", "four_directions")
BIENCODER = (*CONTRASTIVE, "covariance", "gaussian", "margin", "sigreg")
FITS = {
    "colbert": {*ANY, *CONTRASTIVE, "sigreg"} - {"four_directions"},
    "biencoder": {*ANY, *BIENCODER},
    "gaussian": {*ANY, *BIENCODER, "variance"} - {"bce", "mse"},
    "splade": {*ANY, *CONTRASTIVE, "flops", "splade"} - {"bce", "mse"},
    "cross_encoder": {*ANY},
    "yes_no": {*ANY},
    "provence": {*ANY, "provence"},
}
REASONS = {
    ("colbert", "covariance"): "ColBERT gives many vectors per text, and Covariance needs one",
    ("colbert", "variance"): "ColBERT gives many vectors per text, and Variance needs one",
    ("colbert", "margin"): "ColBERT gives many vectors per text, and Margin needs one",
    ("colbert", "four_directions"): "ColBERT gives many vectors per text, and FourDirections needs one",
    ("colbert", "gaussian"): "ColBERT gives many vectors per text, and GaussianLoss needs one",
    ("biencoder", "variance"): "BiEncoder gives vectors of length 1, and Variance trains their length",
    ("gaussian", "bce"): "Gaussian gives scores up to 0, and Bce reads them as logits",
    ("gaussian", "mse"): "Gaussian gives scores up to 0, and Mse reads them as logits",
    ("splade", "bce"): "Splade gives scores from 0, and Bce reads them as logits",
    ("splade", "sigreg"): "Splade gives sparse weights of terms, and Sigreg trains dense vectors",
    ("splade", "margin"): "Splade gives sparse weights of terms, and Margin trains dense vectors",
    ("biencoder", "flops"): "BiEncoder gives dense vectors, and Flops trains sparse weights of terms",
    ("colbert", "splade"): "ColBERT gives dense vectors, and SpladeLoss trains sparse weights of terms",
    ("yes_no", "margin"): "YesNo is a reranker, and Margin trains retriever heads",
    ("colbert", "provence"): "ColBERT is a retriever, and ProvenceLoss trains pruner heads",
}
LOSSES = sorted({*ANY, *BIENCODER, "variance", "provence", "flops", "splade"})
PAIRS = [(head, loss) for head in HEADS for loss in LOSSES]


def chosen(head, loss):
    target = ["loss.target=label"] if loss == "margin_mse" else []
    return [f"model={'tiny_reranker' if head == 'yes_no' else 'tiny'}", f"model/head={head}", f"loss={loss}", *target]


@pytest.mark.parametrize(("head", "loss"), [pair for pair in PAIRS if pair[1] not in FITS[pair[0]]])
@pytest.mark.parametrize("within", ["alone", "sum"])
def test_what_a_head_cannot_be_trained_by_is_refused(composed, head, loss, within):
    overrides = chosen(head, loss)
    if within == "sum":
        overrides = [overrides[0], overrides[1], "loss=sum", f"+loss@loss.terms.one={loss}", "+loss@loss.terms.kl=kl"]
        overrides += ["loss.terms.one.target=label"] if loss == "margin_mse" else []
    found = problems(composed("train", *overrides))
    assert REASONS.get((head, loss), "") in found[0]
    for problem in found:
        assert problem.startswith("model/head and loss don't fit: ")
        assert problem.endswith("choose another loss= or model/head=")


@pytest.mark.parametrize(
    ("head", "losses"),
    [
        ("biencoder", ["margin"]),
        ("gaussian", ["sigreg", "variance"]),
        ("splade", ["flops"]),
        ("biencoder", ["sigreg", "kl"]),
        ("gaussian", ["gaussian"]),
        ("splade", ["splade"]),
    ],
)
def test_a_temperature_is_learned_where_scores_are_read(composed, head, losses):
    terms = [f"+loss@loss.terms.{loss}={loss}" for loss in losses]
    for given in [["loss=sum", *terms], *([[f"loss={losses[0]}"]] if len(losses) == 1 else [])]:
        found = problems(composed("train", "model=tiny", f"model/head={head}", "model.learn_temperature=true", *given))
        if losses[-1] in ("kl", "gaussian", "splade"):
            assert found == []
        else:
            assert len(found) == 1
            assert found[0].startswith("model.learn_temperature=true: ")
            assert "read no scores" in found[0]


@pytest.mark.parametrize(("head", "loss"), [pair for pair in PAIRS if pair[1] in FITS[pair[0]]])
def test_the_others_train(composed, request, head, loss):
    config = composed("train", *chosen(head, loss))
    assert problems(config) == []
    encoder = load(request.getfixturevalue("decoder" if head == "yes_no" else "bert"), head)
    batch = batch_of(encoder, examples(6, negatives=2))
    optimiser = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=1e-3)
    objective, values = build(config.loss), []
    for _ in range(12):
        optimiser.zero_grad()
        loss_value = run_step(encoder, objective, batch, Budget(4096, 4096), Alone())["loss"]
        loss_value.backward()
        optimiser.step()
        values.append(loss_value.item())
    assert all(map(torch.isfinite, torch.tensor(values)))
    assert min(values[-3:]) < values[0]
