"""Publishing a run: its card, libraries that open the folder with the same scores, and the upload."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError

import reasonir
from reasonir.errors import InputError
from reasonir.eval.demo import DemoBenchmark
from reasonir.model.export import export
from reasonir.model.head.provence import Provence
from reasonir.publishing.hub import load, save
from reasonir.publishing.measured import EXAMPLES
from reasonir.publishing.model_card import card_of
from reasonir.utils.state import seal
from tests.helpers import HTTP
from tests.helpers import load as load_untrained
from tests.running import run

SMALL = (
    *("data=demo", "data.variants=1", "eval=demo", "hardware=cpu", "logger=csv", "loader.workers=0"),
    *("loader.batch_size=4", "trainer.max_steps=2", "evaluation.rerank_depth=5"),
)
HEADS = {
    "colbert": ("model=tiny", "evaluation.baselines=[random,bm25,untrained]", "+tags.purpose=the card"),
    "biencoder": ("model=tiny", "model/head=biencoder", "model/prompts=instruct", "evaluation.baselines=[]"),
    "gaussian": ("model=tiny", "model/head=gaussian", "loss=gaussian", "evaluation.baselines=[]"),
    "splade": ("model=tiny", "model/head=splade", "evaluation.baselines=[]"),
    "cross_encoder": ("model=tiny", "model/head=cross_encoder", "loss=bce", "evaluation.baselines=[]"),
    "yes_no": ("model=tiny_reranker", "loss=bce", "evaluation.baselines=[]"),
}
QUERY, TEXTS = "why does it rain", ["Warm air rises.", "Copper conducts."]
"""Texts of the card's examples."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of a head, trained when it is first asked for."""
    home, done = tmp_path_factory.mktemp("hub"), {}

    def of(head):
        if head not in done:
            done[head] = run("train", *HEADS[head], *SMALL, home=home)
        assert done[head].status == 0, done[head].err
        return done[head].folder

    of.home = home
    return of


def opened(folder):
    """Result of the card's first example, in the model's own library, with the saved folder."""
    theirs, ours = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    found = [{}, {}]
    for code, names in zip((theirs, ours), found, strict=True):
        exec(code, names)
    return found


@pytest.mark.parametrize("head", list(HEADS))
def test_the_card_opens_the_saved_folder_with_the_runs_scores(head, runs, tmp_path):
    if head == "colbert":
        pytest.importorskip("pylate")  # which the card uses
    folder = tmp_path / "saved"
    save(runs(head), folder, name=str(folder))
    theirs, ours = opened(folder)
    model = reasonir.load(runs(head))
    again = reasonir.load(folder)
    if head in ("cross_encoder", "yes_no"):
        expected = model.score(QUERY, TEXTS)
        assert again.score(QUERY, TEXTS) == pytest.approx(expected, abs=1e-5)
        assert ours["reranker"].score(QUERY, TEXTS) == pytest.approx(expected, abs=1e-5)
        if head == "cross_encoder":
            found = theirs["model"].predict([(QUERY, text) for text in TEXTS])
            assert found.tolist() == pytest.approx(expected, abs=1e-5)
        return
    expected = model.score([QUERY], TEXTS)[0]
    assert torch.allclose(again.score([QUERY], TEXTS)[0], expected, atol=1e-5)
    if head == "colbert":
        queries, documents = theirs["queries"], theirs["documents"]
        found = [float((queries[0] @ each.T).max(1).sum()) for each in documents]
    elif head == "biencoder":
        found = (theirs["queries"] @ theirs["documents"].T)[0].tolist()
    elif head == "splade":
        found = theirs["model"].similarity(theirs["queries"], theirs["documents"])[0].tolist()
    else:
        size = theirs["queries"].shape[1]
        found = [-float(np.square(theirs["queries"][0] - each).sum()) / (2 * size) for each in theirs["documents"]]
    assert found == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_pruners_export_is_opened_as_its_card_says(bert, tmp_path):
    export(load_untrained(bert, "provence"), tmp_path / "model")
    found = {}
    exec(Provence.usage.library_code.replace("{name}", str(tmp_path / "model")), found)
    scores = found["model"].predict([(QUERY, text) for text in TEXTS])
    exec(Provence.usage.reasonir_code.replace("{name}", str(tmp_path / "model")), found)
    assert scores.tolist() == pytest.approx(found["pruner"].score(QUERY, TEXTS), abs=1e-5)


def test_the_card_tells_what_the_run_knows(runs, tmp_path):
    folder = runs("colbert")
    text = card_of(folder, "me/rain", licence="apache-2.0")
    card = ModelCard(text)
    assert card.data.library_name == "PyLate"
    assert card.data.pipeline_tag == "sentence-similarity"
    assert card.data.license == "apache-2.0"
    theirs = ["ColBERT", "PyLate", "sentence-transformers", "sentence-similarity", "feature-extraction"]
    assert card.data.tags == [*theirs, "reasonir", "colbert", "dataset_size:280", "loss:CachedContrastive"]
    assert card.data.widget == list(EXAMPLES)
    assert card.data.base_model is None  # random weights have none
    assert card.data.datasets is None
    results = json.loads((folder / "results.json").read_text())
    listed = {each.metric_type: each for each in card.data.eval_results}
    assert list(listed) == [f"MaxSim_{name}" for name in ("ndcg@10", "mrr@10", "recall@10", "recall@100")]
    first = listed["MaxSim_ndcg@10"]
    assert (first.task_type, first.dataset_name) == ("py-late-information-retrieval", "demo")
    assert (first.task_name, first.metric_name) == ("Py Late Information Retrieval", "Maxsim Ndcg@10")
    assert first.metric_value == round(results["results"]["demo"]["trained"]["ndcg_at_10"], 4)
    for line in ("Query Length:** 128 tokens", "Document Length:** 180", "Output Dimensionality:** 128 dimensions"):
        assert f"- **{line}" in text
    assert "- **Similarity Function:** MaxSim" in text
    table = re.sub(" +", " ", text)
    for system in ("random", "bm25", "untrained", "trained"):
        span = results["intervals"]["demo"][system]["ndcg_at_10"]
        cells = f"| demo | {system} | {span['mean']:.4f} | {span['low']:.3f} to {span['high']:.3f} |"
        assert cells in table
    gap = results["differences"]["demo"]["bm25"]["ndcg_at_10"]
    assert f"| {gap['delta']:+.4f} | {gap['p']:.4f} |" in table
    assert "- query_length: `128`" in text
    assert "280 queries" in text
    assert "python -m reasonir.train model=tiny " in text
    assert "'+tags.purpose=the card'" in text
    assert str(tmp_path.parent) not in text
    assert "licence of the data" not in text
    assert "decontamination" not in text


def test_heads_have_the_conventions_of_the_library_that_opens_them(runs):
    """As its own cards have them."""
    for head, library, tag, task, metric in (
        ("biencoder", "sentence-transformers", "dense", "information-retrieval", "cosine_ndcg@10"),
        ("gaussian", "sentence-transformers", "dense", "information-retrieval", "euclidean_ndcg@10"),
        ("cross_encoder", "sentence-transformers", "cross-encoder", "cross-encoder-reranking", "ndcg@10"),
    ):
        text = card_of(runs(head), "me/rain")
        data = ModelCard(text).data
        assert data.library_name == library
        assert tag in data.tags
        assert (data.eval_results[0].task_type, data.eval_results[0].metric_type) == (task, metric)
        reranks = head == "cross_encoder"
        assert data.pipeline_tag == ("text-ranking" if reranks else "sentence-similarity")
        assert (data.get("widget") is None) == reranks
        assert "- **Maximum Sequence Length:** " in text
        assert ("- **Similarity Function:** " in text) == (not reranks)


def test_results_of_mteb_are_listed_as_mteb_lists_them(runs, tmp_path):
    mteb = pytest.importorskip("mteb")
    (tmp_path / "config.yaml").write_bytes((runs("biencoder") / "config.yaml").read_bytes())
    of = mteb.get_task("SciFact").metadata
    stated = {"task": "SciFact", "type": of.type, "subset": "default", "split": "test", "main score": of.main_score}
    stated |= {"benchmark": "mteb 2.26", "collection": of.dataset["path"], "revision": of.dataset["revision"]}
    results = {
        "protocol": {"headline": "ndcg_at_10", "tasks": {"SciFact": stated}},
        "results": {"SciFact": {"trained": {"ndcg_at_10": 0.5, "mteb_ndcg_at_10": 0.5}}},
        "intervals": {},
        "differences": {},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    (listed,) = ModelCard(card_of(tmp_path, "me/rain")).data.eval_results
    scores = {"test": {"default": {"main_score": 0.5}}}
    theirs = mteb.TaskResult.from_task_results(mteb.get_task("SciFact"), scores, 1.0)
    (expected,) = theirs.get_hf_eval_results()
    assert vars(listed) == vars(expected)


def test_data_of_the_hub_its_licence_and_decontamination_are_told(runs, tmp_path):
    """As a run on ReasonIR's data notes them."""
    source = runs("colbert")
    for name in ("results.json", "environment.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    config = (source / "config.yaml").read_text().partition("\n")[2]  # without its checksum, like the next one
    config = re.sub(r"(?m)^  path: .*tiny$", "  path: owner/base", config)
    config = re.sub(r"(?ms)^data:\n.*?^(?=\S)", "data:\n  path: owner/data\n  documents: other/texts\n", config)
    (tmp_path / "config.yaml").write_text(config)
    manifest = json.loads((source / "data.json").read_text())
    manifest["identity"] |= {"licence": "CC BY-NC 4.0 (data)", "decontaminate": "gold"}
    (tmp_path / "data.json").write_text(json.dumps({name: manifest[name] for name in manifest if name != "sha256"}))
    text = card_of(tmp_path, "me/rain")
    card = ModelCard(text)
    assert card.data.base_model == "owner/base"
    assert card.data.datasets == ["other/texts", "owner/data"]
    assert card.data.license is None
    assert "- licence of the data: CC BY-NC 4.0 (data)" in text
    assert "- decontamination against BRIGHT: gold" in text
    for name in ("results.json", "environment.json", "data.json"):
        (tmp_path / name).unlink()
    bare = card_of(tmp_path, "me/rain")
    assert "## Usage" in bare
    for part in ("## Evaluation", "## Training", "protocol", "model-index"):
        assert part not in bare


def test_folders_of_this_machine_stay_untold(runs, tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "config.yaml").write_bytes((runs("colbert") / "config.yaml").read_bytes())
    words = ["data.path=/home/me/secret/rows.jsonl", "eval.path=outputs/x", "model.path=Qwen/Qwen3", "optim.lr=1e-4"]
    (tmp_path / ".hydra" / "overrides.yaml").write_text(json.dumps(words))
    seal(tmp_path / ".hydra" / "overrides.yaml")
    text = card_of(tmp_path, "me/rain")
    assert "data.path=rows.jsonl eval.path=outputs/x model.path=Qwen/Qwen3 optim.lr=1e-4" in text


@pytest.fixture
def uploads(monkeypatch):
    """Requests that would have gone over the network."""
    from huggingface_hub import HfApi

    sent = []

    def upload(self, *, repo_id, folder_path, **_):
        sent.append((repo_id, {file.name for file in folder_path.iterdir()}))

    monkeypatch.setattr(HfApi, "create_repo", lambda self, to, **given: sent.append((to, given)) or f"https://hub/{to}")
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    return sent


def test_the_command_saves_and_pushes(runs, uploads):
    source = runs("colbert")
    words = (f"run={source}", "to=me/rain")
    dry = run("push", *words, "dry_run=true", home=runs.home)
    assert dry.status == 0, dry.err
    assert uploads == []
    assert f"This would be uploaded: {dry.folder / 'rain'}" in dry.err
    files = {file.name for file in (dry.folder / "rain").iterdir()}
    widget = ModelCard.load(dry.folder / "rain" / "README.md").data.widget
    tests = next(DemoBenchmark(split="test", seed=0).tasks())
    assert {each["source_sentence"] for each in widget} <= {text.text for text in tests.queries.values()}
    assert all({*each["sentences"]} <= {*tests.corpus.texts} for each in widget)
    assert files == {file.name for file in (source / "model").iterdir()} | {"README.md"}
    done = run("push", *words, "private=true", "license=apache-2.0", home=runs.home)
    assert done.status == 0, done.err
    assert uploads == [("me/rain", {"private": True, "exist_ok": True}), ("me/rain", files)]
    assert "The model is at https://hub/me/rain" in done.err
    assert ModelCard.load(done.folder / "rain" / "README.md").data.license == "apache-2.0"


def test_what_cannot_be_pushed_is_said(runs, uploads, tmp_path, monkeypatch):
    source = runs("colbert")
    broken = tmp_path / "broken"
    shutil.copytree(source, broken)
    config = (broken / "config.yaml").read_text().partition("\n")[2]
    elsewhere = "eval:\n  _target_: reasonir.eval.beir.BeirBenchmark\n  path: nowhere\n"
    (broken / "config.yaml").write_text(re.sub(r"(?ms)^eval:\n.*?^(?=\S)", elsewhere, config))
    for words, message in (
        ((f"run={broken}", "to=me/rain"), "measure=false makes the card without the evaluation's texts"),
        ((f"run={source}", "to=rain"), "to=rain: give the repository as user/name"),
        (("run=nothing", "to=me/rain"), "run=nothing is"),
        ((f"run={tmp_path}", "to=me/rain"), "has no exported model: finish the run"),
    ):
        refused = run("push", *words, home=runs.home)
        assert refused.status == 2
        assert message in refused.err
    with pytest.raises(InputError, match="exists: give a new folder"):
        save(source, tmp_path, name="me/rain")

    def refuses(self, **_):
        answer = HTTP.Response(401, request=HTTP.Request("POST", "https://hub"))
        raise HfHubHTTPError("401 Client Error\nmore", response=answer)

    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", refuses)
    refused = run("push", f"run={source}", "to=me/rain", home=runs.home)
    assert refused.status == 2
    assert "the hub refuses the upload (401 Client Error): log in" in refused.err


def test_what_was_pushed_is_loaded_from_the_hubs_cache(runs, tmp_path, hub):
    save(runs("biencoder"), tmp_path / "saved", name="me/rain")
    hub(tmp_path / "saved", "me/rain")
    expected = reasonir.load(tmp_path / "saved").score([QUERY], TEXTS)
    assert torch.equal(load("me/rain").score([QUERY], TEXTS), expected)
    with pytest.raises(InputError, match="me/rain at other can't be reached"):
        load("me/rain", revision="other")
