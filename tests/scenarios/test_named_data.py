"""Published training sets by name, each from a hub cache that holds a miniature in its layout."""

import json

import pytest

from reasonir.cli.configuration import build

NUMBERS = range(6)


def declared(**patterns):
    """The header of a repository whose README.md declares these configurations: its split and pattern by name."""
    entries = (
        f"- config_name: {name}\n  data_files:\n  - split: {split}\n    path: {pattern}\n"
        for name, (split, pattern) in patterns.items()
    )
    return f"---\nconfigs:\n{''.join(entries)}---\n"


def by_id(rows, *, split, corpus, text):
    """Files of a set whose rows name queries and documents by id."""
    queries = [{"query_id": str(number), "query": f"q{number}"} for number in NUMBERS]
    documents = [{f"{text}_id": str(number), text: f"p{number}"} for number in range(40)]
    return {
        f"{rows}/{split}-0.jsonl": [],
        f"queries/{split}-0.jsonl": queries,
        f"{corpus}/{split}-0.jsonl": documents,
    }


def scored(number):
    ids = [str(each) for each in range(number, 39)]
    return {"query_id": str(number), "document_ids": ids, "scores": [1.0] * len(ids)}


def labelled(number):
    ids = [str(each) for each in range(40)]
    return {"query_id": str(number), "doc_ids": ids, "labels": [int(each == str(number)) for each in ids]}


RETRIEVAL = [{"prompt": "find", "query": f"q{n}", "pos": [f"p{n}"], "neg": ["x", "y"]} for n in NUMBERS]
PASSAGES = [
    {
        "query_id": str(n), "query": f"q{n}", "positive_passages": [{"docid": "1", "title": "", "text": f"p{n}"}],
        "negative_passages": [{"docid": "2", "title": "", "text": "x"}],
    }
    for n in NUMBERS
]  # fmt: skip
SETS = {
    "all_nli": {
        "README.md": declared(pair=("train", "pair/train-*"), triplet=("train", "triplet/train-*")),
        "pair/train-0.jsonl": [{"anchor": "wrong", "positive": "wrong"}],
        "triplet/train-0.jsonl": [{"anchor": f"q{n}", "positive": f"p{n}", "negative": "x"} for n in NUMBERS],
    },
    "natural_questions": {
        "README.md": declared(pair=("train", "pair/train-*")),
        "pair/train-0.jsonl": [{"query": f"q{n}", "answer": f"p{n}"} for n in NUMBERS],
    },
    "msmarco": {
        "README.md": declared(
            corpus=("train", "corpus/train-*"),
            **{"labeled-list": ("train", "labeled-list/train-*"), "queries": ("train", "queries/train-*")},
        ),
        **by_id("labeled-list", split="train", corpus="corpus", text="passage"),
        "labeled-list/train-0.jsonl": [labelled(n) for n in NUMBERS],
    },
    "lightonai": {
        "README.md": declared(**{name: ("fiqa", f"{name}/fiqa-*") for name in ("documents", "queries", "scores")}),
        **by_id("scores", split="fiqa", corpus="documents", text="document"),
        "scores/fiqa-0.jsonl": [scored(n) for n in NUMBERS],
    },
    "reason_embed": {
        "reason-embed-data-0928/biology-formatted.jsonl": RETRIEVAL[:3],
        "reason-embed-data-0928/aops-formatted.jsonl": [{**row, "reasoning_query": "why"} for row in RETRIEVAL[3:]],
    },
    "bge_reasoner": {f"bge-reasoner-data-0904/{name}.jsonl": RETRIEVAL[part::2] for part, name in enumerate("ab")},
    "rader": {"data/train-00000-of-00001.jsonl": PASSAGES},
    "reasonaug": {"ReasonAug.jsonl": [{"query": f"q{n}", "positive": f"p{n}", "negative": "x"} for n in NUMBERS]},
    "sycl": {
        "llama33_70b/corpus.jsonl": [
            {"_id": f"d{n}-{grade}", "title": "", "text": f"p{n}" if grade == 3 else f"g{n}-{grade}"}
            for n in NUMBERS
            for grade in range(4)
        ],
        "llama33_70b/queries.jsonl": [{"_id": f"{n}", "text": f"q{n}"} for n in NUMBERS],
        "llama33_70b/qrels/train.jsonl": [
            {"query-id": f"{n}", "corpus-id": f"d{n}-{grade}", "score": grade}
            for n in NUMBERS
            for grade in range(3, -1, -1)
        ],
    },
}  # fmt: skip
DOCUMENTS = {"msmarco": 32, "lightonai": 32, "natural_questions": 1, "reason_embed": 3, "bge_reasoner": 3, "sycl": 4}
"""Documents of each query, where they aren't two."""


@pytest.mark.parametrize("name", SETS)
def test_a_named_set_is_read(composed, tmp_path, hub, name):
    config = composed("train", f"data={name}").data
    for file, content in SETS[name].items():
        path = tmp_path / "repository" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content))
    commit = config.get("revision") or "0123456789abcdef0123456789abcdef01234567"
    hub(tmp_path / "repository", config.path, kind="dataset", commit=commit)
    examples = sorted(build(config).examples(), key=lambda example: example.query)
    assert [(example.query, example.positives[0].text) for example in examples] == [(f"q{n}", f"p{n}") for n in NUMBERS]
    assert {len(example.documents) for example in examples} == {DOCUMENTS.get(name, 2)}
    if name == "lightonai":
        assert all(document.teachers for document in examples[0].documents)
    if name == "sycl":
        assert [document.label for document in examples[0].documents] == [3, 2, 1, 0]
    if name in ("reason_embed", "bge_reasoner"):
        assert examples[0].instruction == "find"
