import json
import math
from dataclasses import replace

import pytest

from thawlab.similarity.measured import Similarity, StageSimilarity

STAGE = StageSimilarity("conv1", 16, -0.2, 1.5, 0.5, 0.75, None)
FOUND = Similarity(
    20, 2, 9, 10.0, 0.55, (STAGE, replace(STAGE, stage="conv2", norm_distance=0.3)), -0.4, 0.6, None, 1.5
)


def through_json(found):
    return Similarity.from_plain(json.loads(json.dumps(found.to_plain(), allow_nan=False)))


def test_it_is_read_back_as_it_was():
    assert through_json(FOUND) == FOUND
    assert through_json(replace(FOUND, notes=("a sample",))).notes == ("a sample",)


def test_what_is_not_defined_is_null_and_nan_again():
    found = replace(FOUND, pixels_probe=math.nan, stages=(replace(STAGE, linear_probe=math.nan),))
    assert found.to_plain()["pixels_probe"] is None
    back = through_json(found)
    assert math.isnan(back.pixels_probe)
    assert math.isnan(back.stages[0].linear_probe)
    assert back.stages[0].norm_distance is back.random_probe is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain.pop("chance"), "similarity lacks 'chance'"),
        (lambda plain: plain.update(mood=1), "similarity has 'mood'"),
        (lambda plain: plain.update(images="20"), "similarity.images is '20'"),
        (lambda plain: plain.update(images=True), "similarity.images is True"),
        (lambda plain: plain.update(chance=None), "similarity.chance is None"),
        (lambda plain: plain["stages"][1].pop("width"), r"similarity.stages\[1\] lacks 'width'"),
        (lambda plain: plain.update(stages=[3]), r"similarity.stages\[0\] is 3"),
    ],
)
def test_a_strange_record_is_refused_at_its_first_fault(change, message):
    plain = FOUND.to_plain()
    change(plain)
    with pytest.raises(ValueError, match=message):
        Similarity.from_plain(plain)
