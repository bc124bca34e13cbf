import copy
import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from thawlab import compose
from thawlab.naming import run_name, slug, sweep_name
from thawlab.schema import register

register()
CONFIG = compose.jobs(["strategy=gradual"], multirun=False)[0].config
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9]")
KEPT = ("cache.mode", "cache.folder", "cache.max_gb", "checkpoint", "launch")
NOT_RESULT = ("sweep", "study", "audit", "rerun", "logger", "trainer.workers", *KEPT)


def leaves(config, prefix=()):
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*prefix, key))
        else:
            yield (*prefix, key)


def changed(path, value):
    config = copy.deepcopy(CONFIG)
    node = config
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return config


def counts(path):
    return not ".".join(path).startswith(NOT_RESULT)


everything = st.sampled_from(list(leaves(CONFIG)))
numbers = st.floats(1e-9, 1e9) | st.integers(0, 10**6)
texts = st.text(max_size=200)


@given(everything.filter(counts), numbers | texts | st.booleans())
def test_any_other_setting_gives_another_name(path, value):
    old = CONFIG
    for key in path:
        old = old[key]
    if path[-1] in ("lr", "per_class", "share") and isinstance(value, str):
        value = 7
    if isinstance(old, str):
        value = str(value)
    same = repr(old) == repr(value)
    assert (run_name(changed(path, value)) == run_name(CONFIG)) == same


@given(everything.filter(lambda path: not counts(path)), numbers | texts)
def test_what_decides_no_result_gives_the_same_name(path, value):
    assert run_name(changed(path, value)) == run_name(CONFIG)


@given(st.permutations(list(CONFIG)))
def test_the_order_of_the_settings_does_not_matter(keys):
    assert run_name({key: CONFIG[key] for key in keys}) == run_name(CONFIG)


@given(texts, texts, st.integers(0, 2**32), numbers)
def test_names_are_sound_folder_names_of_bearable_length(dataset, backbone, seed, lr):
    config = copy.deepcopy(CONFIG) | {"seed": seed}
    config["dataset"]["name"], config["backbone"]["name"], config["optimizer"]["lr"] = dataset, backbone, lr
    assert SAFE.fullmatch(run_name(config))
    assert len(run_name(config)) <= 120


def test_a_name_can_be_read():
    assert re.fullmatch(r"gradual-s0-digits-5pc-demo-lr0.003-[0-9a-f]{8}", run_name(CONFIG))


words = st.lists(
    st.builds("{}={}".format, st.from_regex(r"[a-z]{1,9}(\.[a-z]{1,9})?", fullmatch=True), texts), max_size=5
)


@given(words, st.randoms())
def test_a_sweep_has_one_name_whatever_the_order_of_its_words(words, random):
    shuffled = random.sample(words, len(words))
    name = sweep_name(words)
    assert sweep_name([*shuffled, "rerun=true", "audit=on", "hydra.verbose=true"]) == name
    assert SAFE.fullmatch(name)
    assert len(name) <= 120
    assert compose.sweep_folder(name) == name, "Hydra and we agree on the folder"
    override = OverridesParser.create().parse_override(f"sweep={name}")
    assert not override.is_sweep_override()
    assert override.value() == name


@pytest.mark.parametrize(("one", "other"), [(["seed=0"], ["seed=1"]), (["a=1", "b=2"], ["a=1,b=2"]), ([], ["seed=0"])])
def test_another_command_gives_another_sweep(one, other):
    assert sweep_name(one) != sweep_name(other)


@given(texts)
def test_a_slug_is_its_own_slug(text):
    assert slug(slug(text)) == slug(text)
