"""Cells as they are formatted, and the table in Markdown."""

from reasonir.utils.table import RIGHT, TEXT, Table

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
