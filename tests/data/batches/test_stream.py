"""Batches of a stream: windows, exact resume, ranks, held-out texts."""

import copy
import gzip
import json
from collections import Counter

import pytest

from reasonir.data.base import copy_key
from reasonir.data.batches.stream import Cursor, ItemStream, StreamBatches, StreamLoader
from reasonir.data.triplets import Triplets
from reasonir.errors import InputError

ROWS = 23


@pytest.fixture
def folder(tmp_path):
    """Three files of rows, the first of which share a query."""
    (tmp_path / "train").mkdir()
    rows = [
        {"query": f"q{max(number, 2)}", "positive": [f"p{number}"], "negative": f"n{number}"} for number in range(ROWS)
    ]
    for part in range(3):
        (tmp_path / "train" / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[part::3]))
    return tmp_path


def queries(step, groups):
    return Batch(step, [group.query.text for group in groups])


class Batch:
    def __init__(self, step, texts):
        self.step, self.texts = step, texts


def loader(
    path, *, workers=0, total=20, rank=0, ranks=1, positives="each", assemble=queries, held=frozenset(), **options
):
    source = Triplets(str(path), stream=True, buffer=options.pop("buffer", 7), **options)
    stream = ItemStream(source, held, positives, False, 5)
    return StreamLoader(
        stream, StreamBatches(assemble, 1, 5), batch_size=4, total=total, rank=rank, ranks=ranks, workers=workers
    )


def groups_of(batches):
    return [group for batch in batches for group in batch.texts]


def taken(batches):
    return [(batch.step, batch.texts) for batch in batches]


def test_an_epoch_takes_every_row_once_and_the_next_in_another_order(folder):
    texts = [text for _, batch in taken(loader(folder)) for text in batch]
    first, second = Counter(texts[:ROWS]), Counter(texts[ROWS : 2 * ROWS])
    assert first == second == Counter(f"q{max(number, 2)}" for number in range(ROWS))
    assert texts[:ROWS] != texts[ROWS : 2 * ROWS]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_resumes_exactly_at_every_batch(folder, workers):
    whole = taken(loader(folder))
    assert taken(loader(folder, workers=workers)) == whole
    running = loader(folder, workers=workers)
    states = [copy.deepcopy(running.state_dict()), *(copy.deepcopy(running.state_dict()) for _ in running)]
    for stop in (0, 1, 2, 5, 6, 13, 19) if workers == 0 else (3,):
        resumed = loader(folder, workers=workers)
        resumed.load_state_dict(json.loads(json.dumps(states[stop])))
        assert taken(resumed) == whole[stop:]


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_each_batch_out(folder, ranks):
    whole = taken(loader(folder))
    parts = [taken(loader(folder, rank=rank, ranks=ranks)) for rank in range(ranks)]
    together = [[text for part in parts for text in part[step][1]] for step in range(20)]
    assert together == [texts for _, texts in whole]


def test_another_order_is_no_continuation(folder):
    state = loader(folder).state_dict()
    for options, message in (
        ({"buffer": 8}, "buffer=7, this run has buffer=8"),
        ({"positives": "all"}, "positives=each"),
    ):
        with pytest.raises(InputError, match=message):
            loader(folder, **options).load_state_dict(state)


def test_positives_of_one_query_are_no_negatives_of_each_other(folder):
    groups = groups_of(loader(folder, buffer=ROWS, assemble=Batch))
    together = [group for group in groups if group.query.text == "q2"]
    assert any(len(group.known) > 2 for group in together)  # its own key, and positives of its other rows in the batch
    assert all(len(group.documents) == 2 for group in groups)  # a positive and a hard negative


def test_held_out_queries_and_documents_are_left_out(folder):
    held = frozenset({copy_key("q5"), copy_key("p6"), copy_key("n7")})
    groups = groups_of(loader(folder, held=held, assemble=Batch))
    texts = {group.query.text for group in groups}
    assert texts == {f"q{number}" for number in range(2, ROWS)} - {"q5", "q6"}
    assert {len(group.documents) for group in groups if group.query.text == "q7"} == {1}


def test_rows_of_another_split_and_without_a_positive_are_left_out(tmp_path):
    rows = [{"query": "a", "positive": "p", "split": "train"}, {"query": "b", "positive": "o", "split": "test"}]
    rows += [{"query": "c", "positive": "r", "split": "train", "label": 0}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"label": 1, **row}) + "\n" for row in rows))
    assert {text for _, texts in taken(loader(tmp_path / "rows.jsonl", total=2)) for text in texts} == {"a"}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "rows.parquet", "rows.jsonl.gz"])
def test_every_format_streams_what_preparing_reads(tmp_path, name):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"query": f"0{number}", "positive": "NA" if number == 3 else f"p {number}"} for number in range(5)]
    file = tmp_path / name
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if name.endswith("gz"):
        file.write_bytes(gzip.compress(lines.encode()))
    elif name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif name.endswith(("csv", "tsv")):
        mark = "," if name.endswith("csv") else "\t"
        file.write_text("".join(mark.join(row) + "\n" for row in [list(rows[0]), *(row.values() for row in rows)]))
    else:
        file.write_text(lines if name.endswith("l") else json.dumps(rows))
    source = Triplets(str(file), stream=True, buffer=9)
    stream = ItemStream(source, frozenset(), "each", False, 1)
    items = stream.items(Cursor())
    streamed = sorted((row["query"], row["pos"][0][1]) for (row, _), _ in (next(items) for _ in rows))
    prepared = [(example.query, example.positives[0].text) for example in Triplets(str(file)).examples()]
    head = [(example.query, example.positives[0].text) for example in source.examples()]
    assert streamed == prepared == head == [(row["query"], row["positive"]) for row in rows]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"query": "a", "positive": "p"}\n{"query": "b", "positive": " "}\n',
            r"row 2 of the stream: 'positive' is ' '",
        ),
        ('{"query": "a", "positive": "p"}\n{broken\n', "can't be read as a stream of jsonl"),
        ('{"query_id": 1, "document_ids": [2]}\n', "names texts by id, which can't be read as a stream"),
        ('{"query": "a", "positive": "p", "label": 0}\n', "the stream has no row to train on"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, text, message):
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        taken(loader(tmp_path / "rows.jsonl"))


def test_files_of_two_kinds_are_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"query": "a", "positive": "p"}\n')
    (tmp_path / "train.csv").write_text("query,positive\nb,q\n")
    with pytest.raises(InputError, match="files of one kind, these are csv, jsonl"):
        taken(loader(tmp_path))
