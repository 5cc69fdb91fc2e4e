import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, CanineTokenizer, PreTrainedTokenizerFast

from reasonir.errors import InputError
from reasonir.model.prompts import Prompts
from reasonir.model.tokenize import check_prompt, cut_texts, kept_of_side, prepare, split_room
from reasonir.types import Text


@pytest.mark.parametrize("room", [2, 7, 20, 21])
@pytest.mark.parametrize("document", [0, 1, 9, 10, 11, 40, 41])
@pytest.mark.parametrize("query", [0, 1, 9, 10, 11, 40, 41])
def test_with_equal_shares_pairs_are_cut_as_the_tokenizers_library_does(query, document, room):
    tokenizer = Tokenizer(models.WordLevel({"w": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(room, strategy="longest_first")
    encoding = tokenizer.encode("w " * query, "w " * document)
    expected = tuple(encoding.sequence_ids.count(side) for side in (0, 1))
    assert split_room(query, document, room, 0.5) == expected


@pytest.mark.parametrize(
    ("query", "document", "share", "expected"),
    [
        (100, 100, 0.25, (5, 15)),
        (100, 100, 0.75, (15, 5)),
        (100, 2, 0.25, (18, 2)),
        (2, 100, 0.75, (2, 18)),
        (100, 100, 0.01, (1, 19)),
        (9, 9, 0.1, (9, 9)),
    ],
)
def test_one_side_may_use_what_the_other_does_not_need(query, document, share, expected):
    assert split_room(query, document, 20, share) == expected


@pytest.mark.parametrize(
    ("prompt", "tail", "text", "room", "expected"),
    [
        (0, 0, 9, 4, [0, 1, 2, 3]),
        (3, 0, 9, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (6, 0, 9, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (9, 0, 9, 8, [0, 1, 2, 3, 4, 5, 9, 10]),
        (9, 2, 9, 8, [0, 1, 2, 3, 7, 8, 9, 10]),
        (9, 2, 1, 8, [0, 1, 2, 3, 4, 7, 8, 9]),
        (9, 9, 9, 8, [3, 4, 5, 6, 7, 8, 9, 10]),
        (9, 2, 9, 1, [9]),
        (3, 1, 2, 8, [0, 1, 2, 3, 4]),
    ],
)
def test_a_text_keeps_a_quarter_and_the_instruction_loses_its_end(prompt, tail, text, room, expected):
    offsets = [(2 * token, 2 * token + 2) for token in range(prompt + text)]
    assert kept_of_side(offsets, 2 * prompt, 2 * tail, room) == expected


def test_a_length_leaves_texts_a_quarter_next_to_the_prompt():
    check_prompt("max_length", 14, 2, 9)
    for length in (13, 4):
        with pytest.raises(
            InputError, match=r"model.head.max_length=.* set it to 14 or more, or shorten model.prompts"
        ):
            check_prompt("max_length", length, 2, 9)


def llama(folder, **config):
    """A tokenizer as Llama's, with a start token in its template."""
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **names).save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    return AutoTokenizer.from_pretrained(folder)


def test_the_end_of_text_that_a_checkpoint_states_is_appended(tmp_path):
    stated = prepare(llama(tmp_path / "stated", add_eos_token=True))
    assert stated("a b")["input_ids"] == [1, 3, 4, 2]
    assert stated("a", "b")["input_ids"] == [1, 3, 2, 1, 4, 2]
    assert stated("a b a b a b", truncation=True, max_length=4)["input_ids"] == [1, 3, 4, 2]
    stated.save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert again("a b")["input_ids"] == prepare(again)("a b")["input_ids"] == [1, 3, 4, 2]
    for number, config in enumerate(({}, {"add_eos_token": False})):
        assert prepare(llama(tmp_path / str(number), **config))("a b")["input_ids"] == [1, 3, 4]


def test_a_tokenizer_in_python_cuts_texts_alike():
    tokenizer = CanineTokenizer()  # a token per character
    prompts = Prompts("do {instruction}: ", "")
    whole, long, cut = (
        cut_texts(tokenizer, [Text(text, instruction)], "query", prompts, 14)[0]
        for text, instruction in (("abc", "it"), ("abc" * 9, "it"), ("abc", "this and that"))
    )
    assert [tokenizer.decode(each.ids[1:-1]) for each in (whole, long, cut)] == [
        "do it: abc",
        "do it: abcab",
        "do this: abc",
    ]
    assert [each.lost for each in (whole, long, cut)] == [0, 22, 9]
    assert [each.prompt_lost for each in (whole, long, cut)] == [0, 0, 9]
    assert {len(each.ids) for each in (long, cut)} == {14}
