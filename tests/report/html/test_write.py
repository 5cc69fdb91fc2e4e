"""Content of the page: sections, queries, escaping of all text, and odd rankings."""

from html.parser import HTMLParser

import pytest

from reasonir.eval.results import Results
from reasonir.eval.stats.ranking_metrics import per_query
from reasonir.report.html.write import page_of, write_report
from reasonir.types import Corpus, Task, Text

VALUES = {"home": "/nowhere", "trec": None, "model": {"path": "some/model"}}
EVIL = "<script>alert('x')</script> & {{ page }} \ud800"
EMPTY = {"br", "hr", "img", "link", "meta", "wbr"}


class Markup(HTMLParser):
    """Parser that collects a page's elements and checks that they are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.links = [], set(), set(), []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.add(tag)
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "section":
            self.ids.add(given["id"])
        if tag == "a" or "src" in given:
            self.links.append(given.get("href") or given["src"])

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def evaluated(folder, tasks, *, groups=None, **systems):
    results = Results({"model": "some/model"}, groups or {})
    for name, runs in systems.items():
        for task, run in zip(tasks, runs, strict=True):
            results.add(task, name, run, per_query(run, task.qrels, relevant_from=task.relevant_from))
            for label, qrels in task.judgements.items():
                results.add_values(f"{task.name}_{label}", name, per_query(run, qrels))
    results.write(folder, evaluated=list(systems)[-1])
    return results


def task(name="t", queries=3, documents=9, **given):
    return Task(
        name,
        {f"q{n}": Text(f"query {n}") for n in range(queries)},
        Corpus([f"d{n}" for n in range(documents)], [f"text {n}" for n in range(documents)]),
        {f"q{n}": {f"d{n}": 1, "d8": 1} for n in range(queries)},
        **given,
    )


def written(folder, *arguments, **given):
    file = write_report(folder, *arguments, values=VALUES, **given)
    return file.read_text(), Markup(file.read_text())


def test_an_untrained_model_has_no_training_section(tmp_path):
    tasks = [task()]
    run = {"q0": {"d0": 2.0, "d1": 1.0}, "q1": {}, "q2": {"d5": 3.0, "d4": 2.0, "d3": 1.0, "d7": 0.5, "d2": 0.1}}
    results = evaluated(tmp_path, tasks, untrained=[run])
    page = page_of(tmp_path, tasks, results, "untrained", values=VALUES)
    empty, deep, good = page.examples.worst
    assert [each.query_id for each in (empty, deep, good)] == ["q1", "q2", "q0"]
    assert (empty.first, empty.ranked, [hit.rank for hit in empty.missed]) == ([], 0, [None, None])
    assert [(hit.doc_id, hit.rank, hit.relevant) for hit in deep.first] == [
        ("d5", 1, False),
        ("d4", 2, False),
        ("d3", 3, False),
    ]
    assert [(hit.doc_id, hit.rank) for hit in deep.missed] == [("d2", 5), ("d8", None)]
    assert deep.missed[0].passage.pieces[0].text == "text 2"
    assert page.examples.improved is None
    text, markup = written(tmp_path, tasks, results, "untrained")
    assert markup.ids == {"results", "worst", "configuration", "environment"}
    assert "Nothing was retrieved." in text
    assert "untrained model reaches nDCG@10" in text


def test_improved_queries_are_compared_with_the_untrained_model_or_else_bm25(tmp_path):
    tasks = [task(queries=2)]
    before, after = {"q0": {"d5": 1.0}, "q1": {"d1": 1.0}}, {"q0": {"d0": 1.0}, "q1": {"d5": 1.0}}
    for other in ("untrained", "bm25"):
        results = evaluated(tmp_path / other, tasks, **{"random": [before], other: [before], "trained": [after]})
        found = page_of(tmp_path / other, tasks, results, "trained", values=VALUES).examples
        assert (found.against, found.changes) == (other, (1, 1, 0))
        assert [(each.query_id, each.before) for each in found.improved] == [("q0", 0.0)]
    _, markup = written(tmp_path / "bm25", tasks, results, "trained")
    assert "improved" in markup.ids
    results = evaluated(tmp_path / "worse", tasks, untrained=[after], trained=[{"q0": {}, "q1": {}}])
    _, markup = written(tmp_path / "worse", tasks, results, "trained")
    assert "improved" not in markup.ids
    best = {f"q{n}": {f"d{n}": 2.0, "d8": 1.0} for n in range(2)}
    results = evaluated(tmp_path / "best", tasks, trained=[best])
    _, markup = written(tmp_path / "best", tasks, results, "trained")
    assert "worst" not in markup.ids


@pytest.mark.parametrize("queries", [1, 3])
def test_several_tasks_have_means_corrected_judgements_and_a_chart(tmp_path, queries):
    tasks = [task(name, queries, judgements={"corrected": {"q0": {"d5": 1}}}) for name in ("one_a", "two")]
    run = {f"q{n}": {"d5": 1.0} for n in range(queries)}
    results = evaluated(tmp_path, tasks, groups={"both": ["one_a", "two"]}, bm25=[run, run], trained=[run, run])
    page = page_of(tmp_path, tasks, results, "trained", values=VALUES)
    assert [row[0] for row in page.results[0].rows] == ["one_a", "one_a_corrected", "two", "two_corrected", "both"]
    assert page.results[0].cells()[1][2] == "1.0000"
    assert page.results[0].cells()[4][-2:] == ["+0.0000", "1.0000"]
    assert "On both, the mean of 2 tasks," in page.headline
    assert page.headline.endswith("equal to BM25 (p = 1.0000).")
    assert [each.task for each in page.examples.worst][:2] == ["one_a", "two"]
    text, markup = written(tmp_path, tasks, results, "trained")
    assert "svg" in markup.tags
    assert "one_<wbr>a_<wbr>corrected" in text


def test_labels_below_relevant_from_are_not_relevant(tmp_path):
    tasks = [Task("t", {"q": Text("x")}, Corpus(["a", "b"], ["A", "B"]), {"q": {"a": 1, "b": 2}}, relevant_from=2)]
    results = evaluated(tmp_path, tasks, trained=[{"q": {"a": 2.0, "b": 1.0}}])
    (found,) = page_of(tmp_path, tasks, results, "trained", values=VALUES).examples.worst
    assert [(hit.doc_id, hit.relevant) for hit in found.first] == [("a", False), ("b", True)]


def test_run_files_are_reported_without_documents(tmp_path):
    tasks = [Task("t", {"q": Text("x" * 5000)}, Corpus([], []), {"q": {"a b": 1}})]
    results = evaluated(tmp_path, tasks, system=[{"q": {"c": 1.0}}])
    results.protocol["trec"] = "run.trec"
    text, markup = written(tmp_path, tasks, results, "system")
    assert "a b" in text
    assert "over 0 documents" not in text
    assert len(text) < 40_000
    assert "details" in markup.tags


def test_text_is_escaped_and_nothing_is_fetched(tmp_path):
    name = EVIL[:-2]  # no metric is made of ids that aren't Unicode
    tasks = [Task("<b>$", {name: Text(EVIL, EVIL)}, Corpus([name, "b"], [EVIL, EVIL]), {name: {"b": 1}})]
    results = evaluated(tmp_path, tasks, trained=[{name: {name: 1.0}}])
    text, markup = written(tmp_path, tasks, results, "trained")
    assert "script" not in markup.tags
    assert "&lt;script&gt;" in text
    assert "{{ page }}" in text
    assert not [link for link in markup.links if not link.startswith(("#", "data:"))]
    for outside in ("@import", "url(http", "src=http"):
        assert outside not in text
