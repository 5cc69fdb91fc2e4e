"""Cells as they are formatted, the table in Markdown, and csv files."""

import csv

import pytest

from reasonir.utils.table import RIGHT, TEXT, Table, read_csv, write_csv

COLUMNS = {"system": TEXT, "nDCG": "{:.3f}", "range": "{0[0]:.1f} to {0[1]:.1f}", "note": RIGHT}
TABLE = Table("Results", COLUMNS, [["bm25", 0.25, (0.1, 0.4), "a|b\nc"], ["ours", 0.5, None, None]], {1}, "A note.")


def test_cells_have_their_columns_format_and_none_is_empty():
    assert TABLE.cells() == [["bm25", "0.250", "0.1 to 0.4", "a|b\nc"], ["ours", "0.500", "", ""]]
    assert Table("", {}, [["parameters", 7]]).cells() == [["parameters", "7"]]


def test_markdown_is_padded_and_keeps_cells_within_their_column():
    assert TABLE.markdown().splitlines() == [
        "| system   |      nDCG |      range |   note |",
        "| :------- | --------: | ---------: | -----: |",
        "| bm25     |     0.250 | 0.1 to 0.4 | a\\|b c |",
        "| **ours** | **0.500** |            |        |",
    ]
    assert Table("", {}, [["a", 1]]).markdown().splitlines()[-1] == "| a   |   1 |"


def test_the_text_has_title_and_note():
    lines = TABLE.text().splitlines()
    assert (lines[0], lines[-1]) == ("Results", "A note.")


TEXTS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\tx", "\rx", "\nx", " =1", "'=1", "''=1", "\uff1d1", "-a"]


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_is_a_formula_in_a_spreadsheet(tmp_path, text):
    write_csv(tmp_path / "a.csv", ["a", text], [[text, 1], [f"x{text}", -0.5]])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [["a", f"'{text}"], [f"'{text}", "1"], [f"x{text}", "-0.5"]]
    assert read_csv(tmp_path / "a.csv") == [{"a": text, text: "1"}, {"a": f"x{text}", text: "-0.5"}]


def test_numbers_and_other_texts_are_written_as_they_are(tmp_path):
    row = [-1, -0.5, "-0.5", "+1e-3", "-inf", "a=b", "it's", "'a", "", None]
    write_csv(tmp_path / "a.csv", [str(n) for n in range(len(row))], [row])
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "-1,-0.5,-0.5,+1e-3,-inf,a=b,it's,'a,,"
