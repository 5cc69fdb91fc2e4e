"""SPLADE head: its definition over every family's language model, weights without zeros, and SparseEncoder's files."""

import json
import re

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer

import reasonir
from reasonir.data.batch import Representation
from reasonir.errors import InputError
from reasonir.model.export import export
from reasonir.model.head.splade import Splade
from reasonir.model.lora import LoRA
from reasonir.model.prompts import Prompts
from reasonir.model.sparse import rows_of
from reasonir.types import Text
from tests.helpers import SENTENCES, load

TEXTS = [Text(sentence) for sentence in SENTENCES]
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 300,
}
FAMILIES = {
    "bert": {},
    "roberta": {"type_vocab_size": 1},
    "xlm-roberta": {"type_vocab_size": 1},
    "modernbert": {"local_attention": 16, "global_attn_every_n_layers": 2},
    "mpnet": {},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 2},
    "electra": {"embedding_size": 24},
    "deberta-v2": {"type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
}


@pytest.fixture(scope="module")
def checkpoint(bert, tmp_path_factory):
    """Makes a checkpoint of a family, with a trained head or without one."""
    made = {}

    def make(family, kind=AutoModelForMaskedLM):
        if (family, kind) not in made:
            folder = made[family, kind] = tmp_path_factory.mktemp(family)
            tokenizer = AutoTokenizer.from_pretrained(bert)
            tokenizer.model_input_names = ["input_ids", "attention_mask"]
            words = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
            torch.manual_seed(1)
            model = kind.from_config(AutoConfig.for_model(family, **SMALL | words | FAMILIES[family]))
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.2 * torch.randn_like(parameter))
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return made[family, kind]

    return make


def dense(encoder, texts=TEXTS, side="document"):
    return torch.from_numpy(rows_of(encoder.encode(texts, side), encoder.head.size).toarray())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_weight_is_the_logarithm_of_the_largest_logit(checkpoint, tmp_path, caplog, family):
    encoder = load(checkpoint(family), "splade", max_length=64).eval()
    assert "no trained" not in caplog.text
    model = AutoModelForMaskedLM.from_pretrained(checkpoint(family)).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint(family))
    weights_NV = dense(encoder)
    for text, weights_V in zip(TEXTS, weights_NV, strict=True):
        with torch.no_grad():
            logits_LV = model(**tokenizer(text.text, return_tensors="pt")).logits[0]
        assert torch.allclose(weights_V, logits_LV.amax(0).relu().log1p(), atol=1e-5)
    export(encoder, tmp_path / "model")  # compared with sentence-transformers
    again = reasonir.load(tmp_path / "model")
    assert type(again.encoder.head) is Splade
    assert torch.allclose(dense(again.encoder), weights_NV, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_head_is_made_of_the_token_embeddings_and_says_so(checkpoint, tmp_path, caplog, family):
    encoder = load(checkpoint(family, AutoModel), "splade", max_length=64).eval()
    assert "has no trained masked-language-model head: a new one is made of its token embeddings" in caplog.text
    embeddings = encoder.backbone.get_input_embeddings().weight
    assert encoder.head.decoder.weight is embeddings
    assert bool((encoder.head.decoder.bias < 0).all())
    squares = [p for p in encoder.head.transform.parameters() if p.ndim == 2 and p.shape[0] == p.shape[1]]
    assert all(torch.equal(square, torch.eye(len(square))) for square in squares)
    export(encoder, tmp_path / "model")
    caplog.clear()
    again = load(tmp_path / "model", "splade").eval()
    assert "no trained" not in caplog.text
    assert torch.allclose(dense(again), dense(encoder), atol=1e-5)


def test_scores_of_stored_weights_are_those_of_dense_ones(bert):
    encoder = load(bert, "splade").eval()
    queries, documents = encoder.encode(TEXTS[:3], "query"), encoder.encode(TEXTS, "document")
    assert bool((documents.values_TD > 0).all())
    assert documents.lengths_N.sum() == len(documents.values_TD) == len(documents.terms_T)
    scores_QN = encoder.head.score(queries, documents)
    assert torch.allclose(scores_QN, dense(encoder, TEXTS[:3], "query") @ dense(encoder).T, atol=1e-6)
    picked = documents.take(torch.tensor([7, 2]))
    assert torch.equal(encoder.head.score(queries, picked), scores_QN[:, [7, 2]])
    many = Representation.join([documents, documents])  # scored in another way than few queries
    assert torch.equal(encoder.head.score(many, documents)[: len(TEXTS)], encoder.head.score(documents, documents))


def test_a_text_without_a_term_scores_zero(bert):
    encoder = load(bert, "splade").eval()
    with torch.no_grad():
        encoder.head.decoder.bias.fill_(-100.0)
    documents = encoder.encode(TEXTS, "document")
    assert documents.lengths_N.tolist() == [0] * len(TEXTS)
    assert encoder.head.score(documents, documents).abs().sum() == 0


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_a_checkpoint_of_sentence_transformers_is_recognised_and_read(checkpoint, tmp_path, activation):
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.models import MLMTransformer, SpladePooling

    modules = [MLMTransformer(str(checkpoint("bert")), max_seq_length=40), SpladePooling("max", activation)]
    model = SparseEncoder(modules=modules, prompts={"query": "why ", "document": ""}, device="cpu")
    model.save_pretrained(str(tmp_path / "model"))
    encoder = reasonir.load(tmp_path / "model").encoder
    assert encoder.head.tokenizer.max_length == 40
    for side in ("query", "document"):
        theirs = model.encode([text.text for text in TEXTS], prompt_name=side, convert_to_sparse_tensor=False)
        assert torch.allclose(dense(encoder, TEXTS, side), theirs, atol=1e-5)
    export(encoder, tmp_path / "again")  # compared with sentence-transformers
    stated = json.loads((tmp_path / "again" / "1_SpladePooling" / "config.json").read_text())
    assert stated["activation_function"] == activation
    written, saved = (json.loads((tmp_path / name / "modules.json").read_text()) for name in ("again", "model"))
    for module in (*written, *saved):
        module["type"] = module["type"].rpartition(".")[2]  # its package has another name from 6 on
    assert written == saved


def test_prompts_and_adapters_are_exported(bert, tmp_path):
    encoder = load(bert, "splade", model={"prompts": Prompts("question: ", "passage: "), "lora": LoRA(rank=2)})
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    export(encoder, tmp_path / "model")  # compared with sentence-transformers
    assert torch.allclose(dense(reasonir.load(tmp_path / "model").encoder), dense(encoder.eval()), atol=1e-5)


def test_embeddings_stay_tied_and_are_trained_once(bert):
    from reasonir.training.optim import Optim

    encoder = load(bert, "splade")
    groups = Optim(lr=1e-3, head_lr=1e-2).optimizer(encoder).param_groups
    tied = encoder.head.decoder.weight
    assert [group["lr"] for group in groups for parameter in group["params"] if parameter is tied] == [1e-3]
    assert sum(len(group["params"]) for group in groups) == len([p for p in encoder.parameters() if p.requires_grad])


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"model_type": "qwen3"}, r"is no masked language model in transformers \(qwen3\)"),
        ({"model_type": "bart", "is_encoder_decoder": True}, r"is no masked language model in transformers \(bart\)"),
        ({}, r"is no masked language model in transformers \(None\)"),
    ],
)
def test_other_language_models_are_refused_by_their_files(tmp_path, stated, reason):
    (tmp_path / "config.json").write_text(json.dumps(stated))
    assert re.search(reason, Splade.unusable(tmp_path, {}))


def test_a_decoder_is_refused_before_it_is_loaded(qwen):
    with pytest.raises(
        InputError, match=r"qwen.* is no masked language model in transformers \(qwen3\): choose a BERT"
    ):
        load(qwen, "splade")


def test_another_pooling_is_refused(bert, tmp_path):
    folder = tmp_path / "model"
    export(load(bert, "splade"), folder)
    (folder / "reasonir.json").unlink()
    file = folder / "1_SpladePooling" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pooling_strategy": "sum"}))
    with pytest.raises(InputError, match="pools by sum, not max: choose another checkpoint"):
        load(folder, "splade")
