import sys

import pyarrow as pa
import pytest
from pyarrow import parquet

from thawlab.data.columns import find_column, open_table, refuse_rows
from thawlab.errors import UserError


@pytest.fixture
def written(tmp_path):
    def write(name, content):
        path = tmp_path / name
        if isinstance(content, dict):
            parquet.write_table(pa.table(content), path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("t.csv", 'path,label\n"a, b.png",x\nc.png,"y ""z"""\n', id="commas and quotes"),
        pytest.param("t.CSV", '\ufeffpath;label\r\n"a, b.png";x\r\n\r\nc.png;y "z"\r\n'.replace('y "z"', '"y ""z"""'),
                     id="as Excel writes it in Europe: BOM, semicolons, CRLF, a blank line"),
        pytest.param("t.tsv", 'path\tlabel\na, b.png\tx\nc.png\t"y ""z"""', id="tabs, no last line break"),
        pytest.param("t.parquet", {"path": ["a, b.png", "c.png"], "label": ["x", 'y "z"']}, id="Parquet"),
    ],
)  # fmt: skip
def test_the_same_table_in_each_form(name, content, written):
    table = open_table(written(name, content))
    assert table.names == ("path", "label")
    assert len(table) == 2
    assert (table.cells("path"), table.cells("label")) == (["a, b.png", "c.png"], ["x", 'y "z"'])


def test_places_are_those_that_an_editor_shows(written):
    table = open_table(written("t.csv", 'path,label\n\n"a\nb",x\nc,y\n'))
    assert [table.place(row) for row in (0, 1)] == ["line 4", "line 5"]
    assert open_table(written("t.parquet", {"path": ["a", "b"]})).place(1) == "row 2"


def test_a_parquet_cell_keeps_its_kind(written):
    table = open_table(written("t.parquet", {"n": [1, None], "f": [1.5, None], "l": [["a", "b"], []]}))
    assert (table.cells("n"), table.cells("f"), table.cells("l")) == ([1, None], [1.5, None], [["a", "b"], []])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        pytest.param("t.xlsx", "x", r"t.xlsx', but that ends in '.xlsx'. Give a table that ends in .csv", id="Excel"),
        pytest.param("t.csv", "", "is empty. Give it a header", id="empty"),
        pytest.param("t.csv", "path,label\n", "holds no rows", id="a header alone"),
        pytest.param("t.csv", "path,label\na.png,x\nb.png\n", "line 3 has 1 cells where the header has 2", id="ragged"),
        pytest.param(
            "t.csv", 'path,label\n"a.png,x\nb.png,y\n', "cannot be read: unexpected end of data", id="open quote"
        ),
        pytest.param("t.csv", "path,label\né,x".encode("latin-1"), "not in UTF-8: .* 0xe9 .* Save it", id="Latin-1"),
        pytest.param("t.csv", "path,label\na,x".encode("utf-16"), "not in UTF-8", id="UTF-16"),
        pytest.param("t.csv", "path,label,label\na,x,y", "several columns called 'label'", id="one name twice"),
        pytest.param("t.parquet", "PAR1 and more", "cannot be read as Parquet", id="no Parquet"),
        pytest.param("t.parquet", {"path": pa.array([], "string")}, "holds no rows", id="Parquet without rows"),
    ],
)
def test_refuses(name, content, said, written):
    with pytest.raises(UserError, match=said):
        open_table(written(name, content))


def test_refuses_a_table_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"t.csv', but there is no such file. Give a table"):
        open_table(tmp_path / "t.csv")


def test_parquet_without_pyarrow_says_what_to_install(written, monkeypatch):
    path = written("t.parquet", {"path": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r'takes the package pyarrow. Install it: pip install "thawlab\[data\]"'):
        open_table(path)


def test_columns_are_found_by_usual_names_or_as_named(written):
    table = open_table(written("t.csv", "Path ,label,species\na,1,cat"))
    assert find_column(table, "image_column", None, {"path", "file"}) == "Path "
    assert find_column(table, "label_column", "species", {"label"}) == "species"
    with pytest.raises(
        UserError, match=r"label_column is 'specie', but .*t.csv has no such column. Did you mean 'species'"
    ):
        find_column(table, "label_column", "specie", {"label"})
    with pytest.raises(UserError, match=r"no column called file, img. The columns are 'Path ', 'label', 'species'."):
        find_column(table, "image_column", None, {"img", "file"})
    with pytest.raises(UserError, match=r"more than one .* Say which it is: dataset.label_column=COLUMN"):
        find_column(table, "label_column", None, {"label", "species"})


def test_refused_rows_are_named_up_to_five(written):
    table = open_table(written("t.csv", "path\n" + "a\n" * 9))
    refuse_rows(table, [], "fact", "remedy")
    with pytest.raises(UserError, match=r"t.csv: fact: line 3 \('x1'\), .*line 7 \('x5'\), and 3 more. Remedy."):
        refuse_rows(table, [(row, f"x{row}") for row in range(1, 9)], "fact", "Remedy.")
