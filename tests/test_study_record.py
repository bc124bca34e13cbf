import json
from dataclasses import replace

import pytest

from thawlab.errors import UserError
from thawlab.files import write_json
from thawlab.study_record import STUDY, StudyRecord

RECORD = StudyRecord(
    kind="four_cases",
    command=["train.py", "experiment=four_cases"],
    source={"name": "thawlab_demo", "seconds": 150.0, "flops": None, "images": 3, "told_by": "the user"},
    targets={"near": "similar", "shapes": "different"},
    sizes=[
        {"per_class": 5, "share": None, "label": "small", "epochs": 30, "batch_size": 16},
        {"per_class": 80, "share": None, "label": "large", "epochs": 15, "batch_size": "auto"},
    ],
    strategies=[{"name": "freeze", "words": ["strategy=freeze"], "control": None, "kept": None, "stage": None}],
    rates=[0.001, 0.01],
    search_seeds=[0],
    seeds=[0, 1],
    chosen=[
        {"target": "near", "per_class": 5, "share": None, "strategies": ["freeze"], "searched": "freeze"}
        | {"rate": 0.01, "scores": [[0.001, 0.5], [0.01, 0.6]], "failed": []}
    ],
)


def config(name="near", per_class=None, share=None):
    return {"dataset": {"name": name, "per_class": per_class, "share": share}}


def test_what_is_written_is_read(tmp_path):
    assert StudyRecord.read(tmp_path) is None
    RECORD.write(tmp_path)
    assert StudyRecord.read(tmp_path) == RECORD


def test_it_tells_of_a_run_which_case_it_belongs_to():
    assert RECORD.case_of(config("shapes")) == "different"
    assert RECORD.case_of(config("digits")) is None
    assert [RECORD.size_of(config(per_class=n)) for n in (5, 80, 7)] == ["small", "large", None]
    assert RECORD.size_of(config(share=5.0)) is None


def test_a_changed_byte_is_noticed(tmp_path):
    RECORD.write(tmp_path)
    path = tmp_path / STUDY
    path.write_text(path.read_text().replace("similar", "different", 1))
    with pytest.raises(UserError, match="checksum"):
        StudyRecord.read(tmp_path)


def test_a_second_launch_adds_to_what_the_first_did():
    """More sizes, seeds, targets and strategies; what both have is as the second has it."""
    size = {"per_class": 20, "share": None, "label": "small", "epochs": 20, "batch_size": 16}
    again = {**RECORD.chosen[0], "rate": 0.001}
    other = {**RECORD.chosen[0], "per_class": 20, "rate": 0.003}
    nobody = {"name": "thawlab_demo", "seconds": None, "flops": None, "images": None, "told_by": "nobody"}
    second = replace(
        RECORD,
        command=["train.py", "study.sizes=[20]"],
        source=nobody,
        targets={"digits": "similar"},
        sizes=[size],
        strategies=[{**RECORD.strategies[0], "name": "full"}],
        rates=[0.003],
        search_seeds=[1],
        seeds=[1, 2],
        chosen=[again, other],
    )
    both = second.added_to(RECORD)
    assert both.command == second.command
    assert both.source == RECORD.source
    assert both.targets == {"near": "similar", "shapes": "different", "digits": "similar"}
    assert [(one["per_class"], one["label"]) for one in both.sizes] == [(5, "small"), (20, "between"), (80, "large")]
    assert [one["name"] for one in both.strategies] == ["freeze", "full"]
    assert (both.rates, both.search_seeds, both.seeds) == ([0.001, 0.003, 0.01], [0, 1], [0, 1, 2])
    assert both.chosen == [again, other]
    assert RECORD.added_to(None) == RECORD
    assert RECORD.added_to(RECORD) == RECORD


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"kind": "depth_profile"}, "it holds a study of kind four_cases", id="kind"),
        pytest.param({"sizes": [{**RECORD.sizes[0], "per_class": None, "share": 0.1}]}, "are shares", id="shares"),
    ],
)
def test_what_cannot_stand_beside_the_first_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(RECORD, **change).added_to(RECORD)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "five_cases"}, "kind is 'five_cases'"),
        ({"targets": {"near": "close"}}, "targets.near is 'close'"),
        ({"sizes": [{**RECORD.sizes[0], "label": "tiny"}]}, "label is 'tiny'"),
        ({"sizes": [{"per_class": 5}]}, "lacks 'share'"),
        ({"rates": ["fast"]}, "of the wrong type"),
        ({"record_version": 9}, "record_version 9"),
        ({"more": 1}, "has fields that version 2 lacks: more"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path, change, said):
    RECORD.write(tmp_path)
    content = json.loads((tmp_path / STUDY).read_text())
    del content["sha256"]
    write_json(tmp_path / STUDY, content | change, sealed=True)
    with pytest.raises(UserError, match=said):
        StudyRecord.read(tmp_path)
