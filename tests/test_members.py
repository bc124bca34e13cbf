import pytest

from thawlab.data.members import BadArchive, Member, index_of


def test_names_are_made_plain():
    found = [("./a/./1.png", "file", Member(3, 0)), ("a//2.png", "file", Member(3, 9)), ("b/", "folder", None)]
    index = index_of(found)
    assert (list(index.files), index.folders) == (["a/1.png", "a/2.png"], {"b"})


@pytest.mark.parametrize("name", ["/etc/1.png", "../1.png", "a/../../1.png", "..", "//1.png"])
def test_refuses_names_that_lead_out(name):
    with pytest.raises(BadArchive, match="leads out of it"):
        index_of([(name, "file", Member(3, 0))])


def test_refuses_a_name_that_occurs_twice():
    with pytest.raises(BadArchive, match=r"holds .a/1.png. twice"):
        index_of([("a/1.png", "file", Member(3, 0)), ("a/./1.png", "file", Member(4, 3))])
