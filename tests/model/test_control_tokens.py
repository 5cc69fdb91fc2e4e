"""Control tokens in texts are text, in prompts tokens, and other texts get the tokens they always got."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, CanineTokenizer, PreTrainedTokenizerFast

from reasonir.errors import InputError
from reasonir.model.control_tokens import reader_of
from tests.helpers import SENTENCES

PLAIN = [*SENTENCES, "a\n\nb", "Ünïcode — 雨が降る <b>x</b> [note] #!", "", "  x ", "< s>", "[ SEP ]", "mask", "</ s >"]
CHAT = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def wrapped(inner, **special):
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def byte_level(specials):
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=500, special_tokens=specials, initial_alphabet=alphabet)
    )
    return inner


def roberta():
    inner = byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}
    return wrapped(inner, **names, pad_token="<pad>", mask_token=AddedToken("<mask>", lstrip=True))


def qwen2():
    tokenizer = wrapped(byte_level([]), eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": CHAT})
    tokenizer.add_tokens(["<think>", "</think>", "\n\n", "<b>"])
    return tokenizer


def t5():
    inner = Tokenizer(models.Unigram())
    inner.normalizer, inner.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    inner.train_from_iterator(
        SENTENCES, trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>")
    )
    inner.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return wrapped(inner, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")


def gemma():
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.Replace(" ", "▁")
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    inner.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=400, special_tokens=special))
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)]
    )
    return wrapped(inner, eos_token="<eos>", bos_token="<bos>", unk_token="<unk>", pad_token="<pad>")


MADE = {"roberta": roberta, "qwen2": qwen2, "t5": t5, "gemma": gemma}


@pytest.fixture(scope="module", params=["bert", "decoder", *MADE])
def tokenizer(request):
    """A tokenizer of a family; that of "bert" has ColBERT's markers."""
    if request.param in MADE:
        return MADE[request.param]()
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(request.param))
    if request.param == "bert":
        tokenizer.add_tokens(["[Q] ", "[D] "])
    return tokenizer


@pytest.fixture(scope="module")
def reader(tokenizer):
    markers = [index for index, token in tokenizer.added_tokens_decoder.items() if token.content in ("[Q] ", "[D] ")]
    return reader_of(tokenizer, ("<think>\n\n</think>", None), markers)


def test_texts_without_control_tokens_get_the_tokenizers_own_tokens(tokenizer, reader):
    for encoding, text in zip(reader.encode(PLAIN), PLAIN, strict=True):
        expected = tokenizer(text, return_offsets_mapping=True)
        assert encoding.ids == expected["input_ids"]
        assert encoding.offsets == expected["offset_mapping"]
    for encoding, text in zip(reader.encode([(text, "bees") for text in PLAIN]), PLAIN, strict=True):
        assert encoding.ids == tokenizer(text, "bees")["input_ids"]
    for encoding, text in zip(reader.encode(PLAIN, length=7), PLAIN, strict=True):
        assert encoding.ids == tokenizer(text, truncation=True, max_length=7)["input_ids"]
    for encoding, text in zip(reader.encode(PLAIN, special=False), PLAIN, strict=True):
        assert encoding.ids == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_control_tokens_in_texts_are_text_and_in_prompts_tokens(tokenizer, reader):
    assert set(tokenizer.all_special_tokens) <= set(reader.names)
    for token in reader.names:
        control = tokenizer.convert_tokens_to_ids(token)
        for text in (token, f"x {token} y", f"x{token}y", token * 3, token.lower(), token.upper(), f"{token}\n{token}"):
            (encoding,) = reader.encode([text], special=False)
            assert control not in encoding.ids or token == tokenizer.unk_token  # which unknown signs get, too
            assert encoding.offsets[-1][1] <= len(text)
            prompt = f"a {token} b"
            (encoding,) = reader.encode([reader.rewrite(prompt) + text], special=False)
            assert encoding.ids.count(control) == 1 or token == tokenizer.unk_token
        assert reader.encode([reader.rewrite(prompt)])[0].ids == tokenizer(prompt)["input_ids"]
        assert len(reader.rewrite(prompt)) == len(prompt)


def test_added_words_stay_tokens_unless_a_prompt_uses_them():
    tokenizer = qwen2()
    word, space = (tokenizer.convert_tokens_to_ids(token) for token in ("<think>", "\n\n"))
    texts = ["a<think>b\n\nc"]
    (plain,), (used,) = (reader_of(tokenizer, (prompt,)).encode(texts) for prompt in ("", "<think>\n\n"))
    assert word in plain.ids
    assert word not in used.ids
    assert space in used.ids


def test_a_tokenizer_in_python_is_refused():
    with pytest.raises(InputError, match="has no fast tokenizer, which token offsets need"):
        reader_of(CanineTokenizer())
