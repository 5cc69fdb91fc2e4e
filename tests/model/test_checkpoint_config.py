"""Lengths that checkpoints state, or don't."""

from types import SimpleNamespace

import pytest

from reasonir.model.checkpoint_config import UNBOUNDED, usable_positions


@pytest.mark.parametrize(
    ("config", "stated", "expected"),
    [
        ({"max_position_embeddings": 512}, int(1e30), 512),
        ({"max_position_embeddings": 512}, 5, 512),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, 512, 512),
        ({}, 77, 77),
        ({}, int(1e30), UNBOUNDED),  # T5, whose tokenizers may state none
        ({}, None, UNBOUNDED),
    ],
)
def test_the_longest_sequence_is_that_of_the_positions_or_what_the_tokenizer_states(config, stated, expected):
    assert usable_positions(SimpleNamespace(**config), SimpleNamespace(model_max_length=stated)) == expected
