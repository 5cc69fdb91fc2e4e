from reasonir.model.prompts import Prompts
from reasonir.types import Text


def test_instructions_replace_the_placeholder_and_are_ignored_without_one():
    prompts = Prompts(query="Instruct: {instruction}\nQuery: ", document="", instruction="find the cause")
    assert prompts.apply(Text("why"), "query") == "Instruct: find the cause\nQuery: why"
    assert prompts.apply(Text("why", "find the culprit"), "query") == "Instruct: find the culprit\nQuery: why"
    assert prompts.apply(Text("because {x}", "ignored"), "document") == "because {x}"


def test_the_checkpoints_prompts_are_the_default():
    assert Prompts(query="q: ").completed({"query": "no", "document": "d: "}) == Prompts("q: ", "d: ")
    assert Prompts(document="").completed({"document": "d: "}) == Prompts("", "")


def test_a_blank_instruction_is_the_default_and_the_rest_of_the_prompt_its_tail():
    prompts = Prompts(query="Instruct: {instruction}\nQuery: ", document="passage: ", instruction="find the cause")
    assert prompts.of("query", " \n") == prompts.of("query") == "Instruct: find the cause\nQuery: "
    assert prompts.of("query", "{instruction} {}") == "Instruct: {instruction} {}\nQuery: "
    assert (prompts.tail("query"), prompts.tail("document")) == ("\nQuery: ", "")
