"""Synthetic texts have the requested lengths by the model's tokenizer, and depend only on the seed."""

import numpy as np
import pytest
import yaml
from transformers import AutoTokenizer

from reasonir.benchmarking.synthetic_texts import SyntheticTexts
from reasonir.config import CONF
from reasonir.errors import InputError


@pytest.fixture(scope="module", params=["bert", "qwen"])
def tokenizer(request, bert, qwen):
    return AutoTokenizer.from_pretrained({"bert": bert, "qwen": qwen}[request.param], verbose=False)


def lengths(tokenizer, texts):
    return [len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]]


def test_even_texts_have_the_requested_length(tokenizer):
    columns = SyntheticTexts("even", [0.5], [8], [40]).columns(tokenizer, 5, 2)
    assert [len(column) for column in columns] == [5, 5, 5, 5]
    assert lengths(tokenizer, columns[0]) == [8] * 5
    assert lengths(tokenizer, columns[1] + columns[3]) == [40] * 10


def test_lengths_spread_evenly_over_the_quantiles(tokenizer):
    columns = SyntheticTexts("w", [0, 0.5, 1], [4, 8, 8], [10, 20, 100], seed=3).columns(tokenizer, 50, 1)
    documents = lengths(tokenizer, columns[1] + columns[2])
    assert min(documents) == 10
    assert max(documents) >= 98
    assert np.median(documents) == pytest.approx(20, abs=1)
    assert sum(length <= 60 for length in documents) == pytest.approx(75, abs=1)
    assert len({text for column in columns for text in column}) == 150


def test_a_seed_gives_the_same_texts_and_another_gives_others(tokenizer):
    drawn = [SyntheticTexts("w", [0, 1], [4, 9], [10, 99], seed=seed).columns(tokenizer, 4, 1) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0, 1], [4], [10, 20]), "queries has 1 lengths and quantiles 2 shares"),
        (([0, 1], [4, 3], [10, 20]), r"queries=\[4, 3\]: give 1 or more values, values in ascending order"),
        (([0, 1], [4, 5], [0, 20]), r"documents\[0\]=0: give 1 or more"),
        (([0, 2], [4, 5], [6, 20]), r"quantiles\[1\]=2: give 0 or more, at most 1"),
    ],
)
def test_invalid_quantiles_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        SyntheticTexts("w", *given)


def test_a_tokenizer_without_single_token_words_is_refused(bert):
    tokenizer = AutoTokenizer.from_pretrained(bert, verbose=False)
    with pytest.raises(InputError, match="0 words of the demo corpus as one token each"):
        SyntheticTexts("w", [0.5], [8], [40]).columns(
            lambda texts, **_: {"input_ids": [[1, 2, 3] for _ in texts]}, 2, 1
        )
    joining = Joining(tokenizer)
    with pytest.raises(InputError, match="makes 7 tokens of 8 words: it joins words"):
        SyntheticTexts("w", [0.5], [8], [40]).columns(joining, 2, 1)


class Joining:
    """Tokenizer that gives one token less for every text with special tokens."""

    def __init__(self, inner):
        self.inner = inner

    def num_special_tokens_to_add(self):
        return self.inner.num_special_tokens_to_add()

    def __call__(self, texts, **options):
        ids = self.inner(texts, **options)["input_ids"]
        return {"input_ids": ids if "add_special_tokens" in options else [each[1:] for each in ids]}


@pytest.mark.parametrize("name", ["even", "scifact", "medquad"])
def test_every_synthetic_workload_is_valid(name, tokenizer):
    given = yaml.safe_load((CONF / "workload" / f"{name}.yaml").read_text())
    given.pop("_target_")
    queries, documents = SyntheticTexts(**{**given, "seed": 0}).columns(tokenizer, 4, 0)
    assert len(set(queries + documents)) == 8
