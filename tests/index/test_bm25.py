import math
import os
import subprocess
import sys

import pytest

from reasonir.index.bm25 import Bm25
from reasonir.types import Corpus, Text

CORPUS = Corpus(["a", "b", "c"], ["salted roads freeze late", "pipes burst when water freezes", "bees dance"])


def test_scores_are_lucenes_by_hand():
    index = Bm25(k1=0.9, b=0.4, stemmer=None, stopwords=None)
    index.build(Corpus(["a", "b"], ["ice ice water", "water"]))
    ranking = index.search({"q": Text("ice")}, 10)["q"]
    inverse_frequency = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    weight = 2 / (2 + 0.9 * (1 - 0.4 + 0.4 * 3 / 2))
    assert ranking == {"a": pytest.approx(inverse_frequency * weight, rel=1e-4)}


def test_jax_is_not_started(tmp_path):
    """It would take three quarters of a GPU's memory as soon as bm25s is imported."""
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("raise SystemExit('jax was imported')")
    index = "from reasonir.index.bm25 import Bm25, Corpus; Bm25().build(Corpus(['a'], ['ice']))"
    code = f"{index}; import sys; assert 'jax' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_stems_match_and_documents_without_a_shared_word_are_not_ranked():
    index = Bm25()
    index.build(CORPUS)
    run = index.search({"q": Text("freezing road"), "none": Text("copper")}, 10)
    assert list(run["q"]) == ["a", "b"]
    assert run["none"] == {}


def test_excluded_documents_are_removed_before_the_cut():
    index = Bm25()
    index.build(CORPUS)
    assert list(index.search({"q": Text("freezing road")}, 1, exclude={"q": frozenset({"a"})})["q"]) == ["b"]


def test_weighed_queries_follow_the_formula_on_both_sides():
    """Query "ice ice water sand": its length counts known words, a word weighs the product of both sides' weights."""
    index = Bm25(k1=0.9, b=0.4, stemmer=None, stopwords=None, weigh_query=True)
    documents = ["ice ice water", "water fire", "fire"]
    index.build(Corpus(["a", "b", "c"], documents))
    ranking = index.search({"q": Text("ice ice water sand")}, 10)["q"]

    def weight(count, length, containing):
        inverse_frequency = math.log(1 + (3 - containing + 0.5) / (containing + 0.5))
        return inverse_frequency * count / (count + 0.9 * (1 - 0.4 + 0.4 * length / 2))

    ice, water = weight(2, 3, 1), weight(1, 3, 2)  # equal in the query and in document a
    assert ranking == {
        "a": pytest.approx(ice * ice + water * water, rel=1e-4),
        "b": pytest.approx(water * weight(1, 2, 2), rel=1e-4),
    }


def test_scores_cover_every_document():
    index = Bm25()
    index.build(CORPUS)
    scored, unknown = index.scores([Text("freezing road"), Text("copper")])
    assert dict(zip(CORPUS.ids, scored.tolist(), strict=True)) == {
        "c": 0.0,
        **index.search({"q": Text("freezing road")}, 3)["q"],
    }
    assert unknown.tolist() == [0.0, 0.0, 0.0]


def ranked(query, *documents, **options):
    index = Bm25(**options)
    index.build(Corpus([str(number) for number in range(len(documents))], documents))
    return list(index.search({"q": Text(query)}, 10)["q"])


@pytest.mark.parametrize(
    ("query", "relevant", "other"),
    [
        ("梅雨とは", "台風のあとに梅雨がくる。", "桜が咲く"),
        ("水", "毎日水を飲む", "犬が走る"),
        ("天气", "今天天气很好", "我喜欢吃苹果"),
        ("อากาศ", "วันนี้อากาศดีมาก", "ฉันชอบกินข้าว"),
        ("ຂ້ອຍ", "ຂ້ອຍກິນເຂົ້າ", "ໝາແລ່ນ"),
        ("မြန်မာ", "ကျွန်တော်မြန်မာစကားပြောသည်", "ဟက"),
        ("ភាសា", "ខ្ញុំនិយាយភាសាខ្មែរ", "ឆ្កែ"),
        ("हिन्दी", "मुझे हिन्दी भाषा आती है", "कुत्ता दौड़ता है"),
        ("தமிழ்", "நான் தமிழ் பேசுகிறேன்", "நாய் ஓடுகிறது"),
        ("한국어", "나는 한국어 책을 읽는다", "개가 달린다"),
        ("물", "물 한 잔", "개가 달린다"),
        ("전쟁은", "한국 전쟁의 역사", "개가 달린다"),
        ("погода", "сегодня хорошая погода", "собака бежит"),
        ("cafe\u0301", "the café is open", "the cafe is open"),
        ("C++ templates", "templates in C++", "templates in Java"),
        ("what is C#", "C# is a language", "C++ is a language"),
        ("iPhone15を買う", "iphone15 costs less", "buy a book"),
        ("2024年のABC", "\uff21\uff22\uff23　２０２４年", "来週"),
        ("ガラス", "ｶﾞﾗｽの窓", "来週"),
    ],
)
def test_every_script_has_words(query, relevant, other):
    assert ranked(query, other, relevant)[0] == "1"
    assert "1" in ranked(query, other, relevant, weigh_query=True)


@pytest.mark.parametrize("documents", [[], [""], ["? !", "a"], ["", "the"]])
@pytest.mark.parametrize("query", ["", "the", "ice", "水"])
@pytest.mark.parametrize("weigh_query", [True, False])
def test_texts_without_words_rank_nothing(documents, query, weigh_query):
    assert ranked(query, *documents, weigh_query=weigh_query) == []


def test_english_words_are_those_of_the_usual_pattern():
    import bm25s

    texts = ["What isn't salt-water_2, at 3.5 degrees? A B52 of O'Neill's; x + y = z: Na+ & K+ (Ca2+) naïve №5"]
    index = Bm25(stemmer=None)
    assert index._tokens(texts) == bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)
