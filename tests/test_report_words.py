from thawlab.report.words import NONE, Table


def test_columns_of_numbers_are_known_from_their_cells():
    rows = (
        ("freeze", "5", "1,600", "0.008", "-2.5", "2e+09", NONE, "5.1 s", "90.5 [88.9, 92.0]"),
        ("full", NONE, "50", "1e-05", "+14.0", "7", NONE, "3 min", "7.0 (n = 1)"),
    )
    table = Table("t", tuple("abcdefghi"), rows)
    assert table.numbers == (False, True, True, True, True, True, False, False, False)
