import json
from collections import Counter

import pytest

from reasonir.data.base import Rejected, content_key
from reasonir.data.batches.collate import contrast, groups_of
from reasonir.data.documents import Documents
from reasonir.data.files.raw_documents import read_texts
from reasonir.data.prepared import fingerprint_of, prepare, read_manifest, validate
from reasonir.errors import InputError
from reasonir.types import Example
from reasonir.utils.sentences import sentences
from tests.data.batches.test_collate import letters


def paragraph(number, count=4):
    return " ".join(f"This is sentence number {n} of document {number} here." for n in range(count))


def written(folder, count=20, name="docs.txt", **options):
    (folder / name).write_text("\n\n".join(paragraph(n, **options) for n in range(count)))
    return str(folder / name)


def found(source):
    each = list(source.examples())
    return [e for e in each if isinstance(e, Example)], [e for e in each if isinstance(e, Rejected)]


def documents_of(texts):
    return {text.split(" of document ")[1].split()[0] for text in texts}


def test_a_query_is_a_sentence_and_its_positive_the_rest(tmp_path):
    source = Documents(written(tmp_path), keep=0)
    examples, rejected = found(source)
    assert len(examples) == 16
    assert rejected == []
    for example in examples:
        (positive,) = example.documents
        (number,) = documents_of([example.query])
        whole = [paragraph(int(number))[start:end] for start, end in sentences(paragraph(int(number)), wrapped=True)]
        assert example.query in whole
        assert positive.text == " ".join(sentence for sentence in whole if sentence != example.query)


def test_a_share_of_passages_keeps_its_sentences(tmp_path):
    examples, _ = found(Documents(written(tmp_path, 400), keep=0.25, splits=(1, 0, 0)))
    kept = [example.query in example.documents[0].text for example in examples]
    assert 0.18 < sum(kept) / len(kept) < 0.32
    whole, _ = found(Documents(written(tmp_path), keep=1))
    assert all(example.query in example.documents[0].text for example in whole)


@pytest.mark.parametrize("seed", range(4))
def test_parts_share_no_document_and_search_all_of_them(tmp_path, seed):
    source = Documents(written(tmp_path), splits=(0.5, 0.3, 0.2), seed=seed)
    train = documents_of(example.query for example in found(source)[0])
    dev, (test,) = source.dev(), source.tests()
    asked = [documents_of(text.text for text in task.queries.values()) for task in (dev, test)]
    assert [len(train), *map(len, asked)] == [10, 6, 4]
    assert len(train | asked[0] | asked[1]) == 20
    for task in (dev, test):
        texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
        assert documents_of(texts.values()) == {str(n) for n in range(20)}
        for query_id, text in task.queries.items():
            (relevant,) = task.qrels[query_id]
            assert text.text not in texts[relevant]
            assert documents_of([text.text]) == documents_of([texts[relevant]])


def test_a_documents_part_depends_on_its_text_not_on_its_position(tmp_path):
    (tmp_path / "other").mkdir()
    there = [paragraph(n) for n in range(20)]
    (tmp_path / "other" / "docs.txt").write_text("\n\n".join(reversed(there)))
    queries = [
        {text.text for text in next(Documents(path).tests()).queries.values()}
        for path in (written(tmp_path), str(tmp_path / "other" / "docs.txt"))
    ]
    assert documents_of(queries[0]) == documents_of(queries[1])


def test_more_pairs_than_documents_take_several_sentences_and_one_text_a_passage(tmp_path):
    source = Documents(written(tmp_path), num_pairs=40, keep=0.3)
    examples, _ = found(source)
    assert len({example.query for example in examples}) == 40
    texts = {}
    for example in examples:
        (document,) = example.documents
        assert texts.setdefault(document.doc_id, document.text) == document.text
    assert {*Counter(example.documents[0].doc_id for example in examples).values()} == {2, 3}
    relation = contrast(0, groups_of(examples), tokenize=letters).relation  # no passage is in a batch in two versions
    assert len(relation.key_N) == 16
    few, _ = found(Documents(written(tmp_path), num_pairs=3))
    assert len(few) == 3


def test_one_sentence_is_always_left(tmp_path):
    examples, _ = found(Documents(written(tmp_path), num_pairs=48, keep=0))
    assert all(len(sentences(example.documents[0].text, wrapped=True)) == 1 for example in examples)
    with pytest.raises(InputError, match=r"data.num_pairs=49: the 16 training passages have 48 sentences that can"):
        list(Documents(written(tmp_path), num_pairs=49).examples())


def test_long_documents_are_cut_into_passages_that_stay_together(tmp_path):
    source = Documents(written(tmp_path, count=10, name="long.txt") and written(tmp_path, 10), passage_words=18)
    assert len(found(source)[0]) == 16
    (test,) = source.tests()
    assert len(documents_of(text.text for text in test.queries.values())) == 1
    assert len(test.queries) == 2
    assert len(test.corpus) == 20
    assert len(next(Documents(written(tmp_path, 10), passage_words=None).tests()).corpus) == 10


def test_random_negatives_are_training_passages_of_other_documents(tmp_path):
    source = Documents(written(tmp_path), negatives="random", num_negatives=3, passage_words=18)
    examples, _ = found(source)
    train = documents_of(example.query for example in examples)
    texts = {example.documents[0].doc_id: example.documents[0].text for example in examples}
    for example in examples:
        wrong = [document.text for document in example.negatives]
        assert len(set(wrong)) == 3
        assert documents_of(wrong) <= train - documents_of([example.query])
        assert all(texts[document.doc_id] == document.text for document in example.negatives)


def test_documents_without_queries_are_counted(tmp_path):
    same = "This sentence stands in two documents. "
    texts = [*(paragraph(n) for n in range(8)), paragraph(3), "Only one sentence of six words here.", same + "A. B."]
    (tmp_path / "docs.txt").write_text("\n\n".join([*texts, same + "C. D."]))
    report = read_manifest(prepare(Documents(str(tmp_path / "docs.txt")), tmp_path))["report"]
    assert {kind: entry["count"] for kind, entry in report.items()} == {
        "duplicate_document": 1,
        "passage_without_query": 3,
    }
    assert report["duplicate_document"]["first"] == [f"{tmp_path / 'docs.txt'}, line 17: docs:17 equals docs:7"]


def test_every_kind_of_file_gives_the_same_documents(tmp_path):
    texts = [paragraph(n, 2) for n in range(3)]
    (tmp_path / "p.txt").write_text("\n\n\n" + "\n\n".join(texts) + "\n\n", encoding="utf-8-sig")
    (tmp_path / "l.txt").write_bytes(("\r\n".join(texts) + "\r\n\r\n").encode())
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"id": f"d{n}", "text": t}) for n, t in enumerate(texts)))
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for number, text in enumerate(texts):
        (tmp_path / "folder" / "deep" / f"{number}.{'md' if number else 'txt'}").write_text(text)
    (tmp_path / "folder" / "empty.txt").write_text(" \n")
    (tmp_path / "folder" / "ignored.pdf").write_text("x")
    read = {name: list(read_texts(tmp_path / name)) for name in ("p.txt", "l.txt", "t.jsonl", "folder")}
    assert all([raw.text for raw in found if raw.text] == texts for found in read.values())
    assert [raw.doc_id for raw in read["p.txt"]] == ["p:4", "p:6", "p:8"]
    assert [raw.doc_id for raw in read["l.txt"]] == ["l:1", "l:2", "l:3"]
    assert [raw.doc_id for raw in read["t.jsonl"]] == ["d0", "d1", "d2"]
    assert [raw.doc_id for raw in read["folder"]] == ["deep/0.txt", "deep/1.md", "deep/2.md", "empty.txt"]


def test_japanese_gives_pairs(tmp_path):
    texts = [
        f"今日は第{n}回の会議が東京で開かれた。参加者は全部で{n}名だったと報告されている。以上。" for n in range(10)
    ]
    (tmp_path / "文書.txt").write_text("\n".join(texts), encoding="utf-8")
    examples, _ = found(Documents(str(tmp_path / "文書.txt"), keep=0))
    assert len(examples) == 8
    assert all(example.query.endswith("。") and " " not in example.documents[0].text for example in examples)
    assert all(content_key(example.query) != content_key(example.documents[0].text) for example in examples)


def test_every_option_and_the_text_change_what_is_prepared(tmp_path):
    path = written(tmp_path)
    options = {
        "num_pairs": 4,
        "splits": (0.5, 0.25, 0.25),
        "keep": 0.5,
        "min_words": 2,
        "passage_words": None,
        "negatives": "random",
        "num_negatives": 2,
        "seed": 1,
    }
    prints = {fingerprint_of(Documents(path, **{key: value})) for key, value in options.items()}
    assert len(prints | {fingerprint_of(Documents(path))}) == len(options) + 1
    assert fingerprint_of(Documents(path)) == fingerprint_of(Documents(path))
    before = fingerprint_of(Documents(path))
    written(tmp_path, 21)
    assert fingerprint_of(Documents(path)) != before
    assert validate(prepare(Documents(path), tmp_path))["counts"]["queries"] == 17


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": [0.8, 0.2]}, "splits=.* three numbers that add up to 1"),
        ({"splits": [0.8, 0.1, 0.2]}, r"splits=.* three numbers that add up to 1"),
        ({"splits": [0.0, 0.5, 0.5]}, "splits="),
        ({"splits": [1.2, -0.1, -0.1]}, r"splits\[1\]=-0.1: give 0 or more"),
        ({"splits": ["a", 0.5, 0.5]}, r"splits\[0\]='a': expected a number"),
        ({"keep": 1.5}, "keep=1.5: give 0 or more, at most 1"),
        ({"num_pairs": 0}, "num_pairs=0: give 1 or more"),
        ({"passage_words": 0}, "passage_words=0"),
        ({"negatives": "hard"}, "negatives=hard: choose none or random"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        Documents("x.txt", **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.txt", None, "no.txt doesn't exist"),
        ("e.txt", b"", "e.txt has no text"),
        ("w.txt", b" \n\n \n", "w.txt has no text"),
        ("l.txt", b"caf\xe9. Two.", r"l.txt isn't UTF-8 \(byte 0xe9\): convert it"),
        ("d.pdf", b"x", r"d.pdf is of an unknown kind: expected one of .txt, .md, .jsonl"),
        (
            "o.txt",
            b"One. Two three.\n\nFour. Five six.",
            "2 documents leave nothing to train on after 1 for dev and 1",
        ),
        (
            "s.txt",
            b"\n".join(b"Line %d is one sentence." % n for n in range(9)),
            "no train document has two sentences",
        ),
        ("t.jsonl", b'{"body": "x"}', "line 1: 'text' is missing"),
        ("t.jsonl", b'{"text": ["One. Two."]}', r"line 1: 'text' is \['One. Two.'\], expected a string"),
        ("t.jsonl", b'{"text": "One. Two.", "id": {"a": 1}}', "line 1: 'id' is .*, expected a string or a whole"),
        ("t.jsonl", b'{"text": "One. \\ud800 Two."}', "line 1: 'text' is .*half of a surrogate pair"),
        ("t.csv", b"id,text\n1,One. Two.\n1,Three. Four.\n", "line 3: id '1' has a second text"),
        ("l.csv", b"text\ncaf\xe9\n", "l.csv isn't UTF-8"),
    ],
)
def test_unusable_files_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(Documents(str(tmp_path / name)).examples())


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"the folder has no \.txt or \.md file"):
        Documents(str(tmp_path)).identity()


def test_ids_of_zero_and_null_are_no_texts(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"id": 0, "text": "a"}\n{"id": null, "text": "b"}\n{"_id": "None", "text": "c"}')
    assert [each.doc_id for each in read_texts(tmp_path / "t.jsonl")] == ["0", "2", "None"]


def test_a_file_whose_name_is_no_id_is_named(tmp_path):
    (tmp_path / "a\tb.txt").write_text("One.")
    with pytest.raises(InputError, match=r"the name of '.*a.*tb\.txt' is .*, expected an id without tabs"):
        list(read_texts(tmp_path))
