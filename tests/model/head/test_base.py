"""What holds for every head: each text keeps its share of the tokens, and its control tokens are text."""

import pytest
import torch

from reasonir.errors import InputError
from reasonir.model.prompts import Prompts
from reasonir.types import Pair, Text
from tests.helpers import HEADS, RETRIEVERS, load

QUERY_PROMPT = "Instruct: {instruction}\nQuery: "
LONG = "find the causes of rain and the flowers of bees " * 30
LENGTHS = {"colbert": {"query_length": 32, "document_length": 32}, "yes_no": {"max_length": 150}}
QUERIES = ("why does it rain", "copper", "the train was late again " * 40, "wind turns the blades " * 40)


def encoder_of(request, head, **options):
    checkpoint = request.getfixturevalue("decoder" if head == "yes_no" else "bert")
    prompts = Prompts(QUERY_PROMPT, "passage: ", "")
    return load(checkpoint, head, model={"prompts": prompts}, **{**LENGTHS.get(head, {"max_length": 48}), **options})


def rows(encoder, query, document="bees dance"):
    """Token ids of one query; for heads of pairs, with a document."""
    tokenizer = encoder.head.tokenizer
    tokens = tokenizer([Pair(query, Text(document))])[0] if encoder.head.reads_pairs else tokenizer([query], "query")
    assert len(tokens.ids_T) <= tokenizer.limit("query")
    return tokens


@pytest.mark.parametrize("head", HEADS)
def test_a_long_instruction_leaves_every_text_its_share(request, head):
    encoder = encoder_of(request, head)
    wholes = [encoder.head.tokenizer.tokenizer.decode(rows(encoder, Text(query, LONG)).ids_T) for query in QUERIES]
    assert len(set(wholes)) == len(QUERIES)
    assert "why does it rain" in wholes[0]
    assert "copper" in wholes[1]
    assert wholes[2].count("train") * 5 + 5 >= encoder.head.tokenizer.limit("query") // 12
    assert all("query" in whole for whole in wholes)  # what follows the instruction stays
    lost = rows(encoder, Text(QUERIES[0], LONG)).lost_N.item()
    assert lost > 100
    assert rows(encoder, Text(QUERIES[0], "find causes")).lost_N.item() == 0


@pytest.mark.parametrize("head", RETRIEVERS)
def test_queries_under_one_long_instruction_get_vectors_of_their_own(request, head):
    encoder = encoder_of(request, head)
    vectors = encoder.head.outputs(encoder.encode([Text(query, LONG) for query in QUERIES[:2]], "query"))
    assert vectors[0].shape != vectors[1].shape or not torch.allclose(*vectors, atol=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_a_blank_instruction_is_none(request, head):
    encoder = encoder_of(request, head)
    blank, none = (rows(encoder, Text("copper", each)).ids_T.tolist() for each in (" \n", ""))
    assert blank == none


@pytest.mark.parametrize("head", HEADS)
def test_braces_in_texts_are_text(request, head):
    encoder = encoder_of(request, head)
    decode = encoder.head.tokenizer.tokenizer.decode
    for text in ("{instruction}", "{}", "{text}", "{0}"):
        ids = rows(encoder, Text(f"copper {text}", "find"), f"bees {text}").ids_T
        assert decode(ids).count("find") == 1


@pytest.mark.parametrize("head", HEADS)
def test_control_tokens_in_texts_are_text(request, head):
    encoder = encoder_of(request, head)
    tokenizer = encoder.head.tokenizer.tokenizer
    controls = [*tokenizer.all_special_tokens, *(["[Q] ", "[D] "] if head == "colbert" else [])]
    controls = [token for token in controls if token != tokenizer.unk_token]
    plain = rows(encoder, Text("copper rain")).ids_T.tolist()
    for token in controls:
        index = tokenizer.convert_tokens_to_ids(token)
        ids = rows(encoder, Text(f"copper {token} rain", token), f"bees {token} dance").ids_T.tolist()
        assert ids.count(index) == plain.count(index)


@pytest.mark.parametrize("head", HEADS)
def test_a_prompt_that_leaves_no_share_is_refused_before_anything_is_trained(request, head):
    least = {"colbert": {"query_length": 8}}.get(head, {"max_length": 8})
    with pytest.raises(InputError, match=r"leaves texts less than 25% of it, next to \d+ special tokens and \d+ of"):
        encoder_of(request, head, **least)


@pytest.mark.parametrize("head", ["colbert", "biencoder", "gaussian", "cross_encoder", "provence"])
def test_texts_are_cut_at_their_end_whatever_the_checkpoint_says(bert, tmp_path, head):
    import shutil

    from transformers import AutoTokenizer

    folder = shutil.copytree(bert, tmp_path / "left")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.truncation_side = tokenizer.padding_side = "left"
    tokenizer.save_pretrained(folder)
    options = {"query_length": 16, "document_length": 16} if head == "colbert" else {"max_length": 32}
    left, right = (load(each, head, **options) for each in (folder, bert))
    texts = [Text(query) for query in QUERIES]
    if left.head.reads_pairs:
        texts = [Pair(text, Text("bees dance " * 30)) for text in texts]
        found, expected = (each.head.tokenizer(texts)[0] for each in (left, right))
    else:
        found, expected = (each.head.tokenizer(texts, "query") for each in (left, right))
    assert found.ids_T.tolist() == expected.ids_T.tolist()
    assert left.head.tokenizer.tokenizer.truncation_side == "right"
