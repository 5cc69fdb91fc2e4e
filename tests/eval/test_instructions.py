import pytest

from reasonir.cli.configuration import build
from reasonir.data.files.bright import SPLITS
from reasonir.errors import InputError
from reasonir.eval.instructions import Instructions
from reasonir.types import Text

READ = {  # model/prompts, eval/instructions, split, long: what a model reads, as BRIGHT's configurations have it
    ("instruct", "e5", "earth_science", False): (
        "Instruct: Given a earth_science post, retrieve relevant passages that help answer the post\nQuery: why"
    ),
    ("instruct", "e5", "pony", True): (
        "Instruct: Given a pony question, retrieve relevant documents that help answer the question\nQuery: why"
    ),
    ("instruct", "e5", "theoremqa_theorems", False): (
        "Instruct: Given a Math problem, retrieve relevant theorems that help answer the problem\nQuery: why"
    ),
    ("gritlm", "e5", "leetcode", False): (
        "<|user|>\nGiven a coding problem, retrieve relevant examples that help answer the problem\n<|embed|>\nwhy"
    ),
    ("instruction", "bge", "biology", True): "Represent this biology post for searching relevant documents: why",
    ("instruction", "bge", "aops", False): "Represent this Math problem for searching relevant examples: why",
    ("instruction", "instructor", "pony", False): "Represent the Pony question for retrieving relevant paragraphs: why",
    ("instruction", "mteb", "robotics", True): "Represent this robotics post for searching relevant passages: why",
    ("qwen", "none", "biology", False): (
        "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:why"
    ),
    ("checkpoint", "e5", "biology", False): "why",  # no place, no instruction
}


@pytest.mark.parametrize("case", READ)
def test_models_read_brights_instructions(composed, case):
    prompts, instructions, split, long = case
    config = composed(
        "evaluate", "model=tiny", f"model/prompts={prompts}", "eval=bright", f"eval/instructions={instructions}"
    )
    said = build(config.eval.instructions).of(split, long=long)
    applied = build(config.model.prompts).completed({}).apply(Text("why", said), "query")
    assert applied == READ[case]


def test_every_split_has_an_instruction_without_unfilled_fields(composed):
    for option in ("bge", "e5", "instructor", "mteb"):
        instructions = build(composed("evaluate", "eval=bright", f"eval/instructions={option}").eval.instructions)
        assert set(instructions.by_split) <= set(SPLITS)
        for split in SPLITS:
            for long in (False, True):
                said = instructions.of(split, long=long)
                assert said
                assert "{" not in said


def test_the_splits_name_as_key_or_words():
    given = {"default": "{task}"}
    assert Instructions(**given).of("earth_science", long=False) == "earth_science"
    words = Instructions(**given, names="words")
    assert [words.of(split, long=False) for split in ("earth_science", "stackoverflow", "biology")] == [
        "Earth Science",
        "Stack Overflow",
        "Biology",
    ]


def test_wrong_options_are_named():
    with pytest.raises(InputError, match=r"names=title: choose key or words"):
        Instructions(names="title")
    with pytest.raises(InputError, match=r"texts=\['passages'\]: give 2 values"):
        Instructions(texts=["passages"])
