"""What a sweep says of its runs."""

from types import SimpleNamespace

from thawlab.sweep import _short


def job(name, *words):
    return SimpleNamespace(name=name, overrides=words)


def test_runs_are_told_apart_by_their_names_where_what_was_typed_is_too_long_for_it():
    few = [job("freeze-s0-0a", "strategy=freeze", "seed=0"), job("full-s0-0b", "strategy=full", "seed=0")]
    assert _short(few) == ["strategy=freeze", "strategy=full"]
    words = [f"dataset.root=/a/long/way/to/the/photos/that/are/meant/{n}" for n in (1, 2)]
    many = [job("freeze-s0-0a", words[0], "strategy=freeze"), job("freeze-s0-0b", words[1], "strategy=freeze")]
    many.append(job("full-s0-0c", words[1], "strategy=full"))
    assert _short(many) == ["freeze-s0", "freeze-s0", "full-s0"], "alike but for the digest, which says little"
