from thawlab.aligned import aligned


def test_words_begin_together_and_numbers_end_together():
    assert aligned([("stage", "width"), ("conv1", "8"), ("a.b.c", "1024")]) == [
        "stage  width",
        "conv1      8",
        "a.b.c   1024",
    ]
    assert aligned([("a", "words", "7"), ("bb", "no", "77")], words=2) == ["a   words   7", "bb  no     77"]


def test_nothing_is_folded_or_read_as_markup():
    name = "x" * 300
    assert aligned([(name, "[bold]1"), ("y", "2")]) == [f"{name}  [bold]1", f"y{' ' * 307}2"]


def test_characters_two_columns_wide_count_twice():
    assert aligned([("猫", "1"), ("ab", "2"), ("abc", "3")]) == ["猫   1", "ab   2", "abc  3"]
