"""One text or many: what every class of the Python API takes, and what it refuses by one error."""

import numpy as np
import pandas as pd
import pytest
import torch

from reasonir.errors import InputError
from reasonir.inference.arguments import check_path, many_ids, many_queries, many_strings, one_query
from reasonir.types import Text

MANY = {
    "list": lambda: ["a", "b"],
    "tuple": lambda: ("a", "b"),
    "generator": lambda: iter("ab"),
    "array": lambda: np.array(["a", "b"]),
    "series": lambda: pd.Series(["a", "b"]),
    "values": lambda: {1: "a", 2: "b"}.values(),
}
NOT_TEXTS = {
    "none": None,
    "a number": 5,
    "bytes": b"ab",
    "a mapping": {"x": "a"},
    "a set": {"a", "b"},
    "a frame": pd.DataFrame({"a": ["x"]}),
    "a matrix": np.array([["a"]]),
    "a scalar array": np.array("a"),
    "a tensor": torch.zeros(2),
    "numbers": [5],
    "lists": [["a"]],
    "null": ["a", None],
    "not a number": pd.Series(["a", float("nan")]),
    "a blank string": " ",
    "an empty string": ["a", ""],
    "half a pair": ["\ud800"],
    "bytes in a list": [b"a"],
}


@pytest.mark.parametrize("kind", MANY)
def test_many_texts_are_any_ordered_collection_of_strings(kind):
    assert many_strings(MANY[kind]()) == ["a", "b"]
    assert many_queries(MANY[kind]()) == [Text("a"), Text("b")]
    assert many_ids(MANY[kind](), 2) == ["a", "b"]
    assert {type(text) for text in (*many_strings(MANY[kind]()), *many_ids(MANY[kind](), 2))} == {str}


def test_a_lone_string_is_one_text():
    assert many_strings("abc") == ["abc"]
    assert many_queries("abc") == many_queries(Text("abc")) == [one_query("abc")] == [Text("abc")]
    assert many_queries([Text("a", "i"), "b"]) == [Text("a", "i"), Text("b")]
    assert many_ids("abc", 1) == ["abc"]
    assert many_ids(7, 1) == ["7"]
    assert many_ids(np.array([1, 2]), 2) == many_ids(range(1, 3), 2) == ["1", "2"]


@pytest.mark.parametrize("value", NOT_TEXTS.values(), ids=NOT_TEXTS)
def test_what_is_no_text_is_refused_by_its_place(value):
    for read in (many_strings, many_queries):
        with pytest.raises(InputError, match=r"^(texts|queries)(\[[01]\])? is "):
            read(value)
    with pytest.raises(InputError, match=r"^query is "):
        one_query(value)


@pytest.mark.parametrize("query", [Text(5), Text(" "), Text("a", None), Text("a", 5), Text("a", "\ud800"), ["a", "b"]])
def test_what_is_no_query_is_refused(query):
    with pytest.raises(InputError):
        one_query(query)


@pytest.mark.parametrize("path", [None, 5, "", " ", b"a", ["a"], "a\0b", "x" * 5000, "~nobody-of-this-name/x"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(InputError, match=r"^path is "):
        check_path(path)
