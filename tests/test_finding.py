import json

import pytest
from planted_records import KNOWN, Planted, known, many, plant

from thawlab.errors import UserError
from thawlab.report.finding import find, to_json
from thawlab.report.report import write_report
from thawlab.run_files import write_mistakes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return known(tmp_path_factory.mktemp("sweeps") / "known")


@pytest.fixture(scope="module")
def findings(folder):
    return find(folder)


def test_a_strategy_that_is_three_points_better_in_five_paired_seeds_is_found(findings):
    (found,) = (
        one
        for one in findings.differences
        if (one.task.target, one.task.size, one.strategy) == (KNOWN.similar, 400, "full")
    )
    assert found.points.value == pytest.approx(KNOWN.points)
    assert (found.points.n, found.images, found.verdict) == (5, 500, "better")
    assert 0 < found.points.low < KNOWN.points < found.points.high
    assert len(findings.differences) == 18
    assert found.p <= found.p_holm <= 18 * found.p


def test_the_crossing_is_found(findings):
    (found,) = (one for one in findings.crossings if (one.target, one.strategy) == (KNOWN.similar, "truncate"))
    assert (found.size, found.between) == (pytest.approx(KNOWN.crossing), (400, 1600))


def test_the_missing_and_the_failed_run_are_named_and_counted_nowhere(findings):
    assert findings.left_out == (
        (KNOWN.missing, "missing: planned, but it left no record"),
        (KNOWN.failed, "failed: RuntimeError: it broke"),
    )
    (cell,) = (c for c in findings.cells if (c.task.target, c.task.size, c.strategy) == ("digits", 1600, "truncate"))
    assert (cell.seeds, cell.score.n) == ((0, 1, 2), 3)
    (row,) = (row for row in findings.runs if row.name == KNOWN.failed)
    assert (row.role, row.status, row.score) == ("no result", "failed", None)
    assert all(c.score.n == 5 for c in findings.cells if c is not cell)


def test_the_rate_that_validation_images_prefer_is_found(findings):
    (cell,) = (cell for cell in findings.cells if cell.search)
    assert (cell.strategy, cell.rate) == ("full", KNOWN.rate)
    assert [rate for rate, _ in cell.searched] == [0.001, 0.01, 0.1]
    roles = {row.name: row.role for row in findings.runs}
    assert roles["full-s0-digits-400-lr0.1"] == "searched"


def test_negative_transfer_is_flagged(findings):
    flagged = {(one.task.target, one.task.size, one.strategy) for one in findings.differences if one.negative_transfer}
    assert ("shapes", 100, "freeze") in flagged
    assert ("digits", 100, "freeze") not in flagged


def test_the_rest_of_the_page(findings):
    assert (findings.title, findings.metric) == ("known", "test/accuracy")
    assert findings.commands == (("train.py", "experiment=four_cases"),)
    assert findings.versions["torch"] == ["2.10.0"]
    assert set(findings.plans) == {"freeze", "truncate", "full", "scratch"}
    classes, counts, seeds = findings.confusions["full, digits, 400"]
    assert (len(classes), sum(map(sum, counts)), seeds) == (10, 5 * 500, 5)
    columns = set(findings.curves["full-s0-digits-400"][0])
    assert columns == {"epoch", "step", "train/loss", "val/accuracy", "val/loss"}
    assert "full-s0-digits-400-lr0.1" not in findings.curves
    assert len(findings.mistakes) == 12 * len(findings.cells)
    assert (findings.cases[0].number, findings.sources[0].flops) == (1, 6e10)
    assert findings.notes[0] == (
        "scratch and truncate, digits, 1600 images: compared over the seeds that both have (0, 1, 2)."
    )


def test_few_images_and_few_seeds_are_told_at_the_top(findings, tmp_path):
    assert findings.cautions == ("FEW SEEDS: 1 of 24 scores rest on two or three: wide intervals.",)
    for strategy, seeds in (("full", (0, 1)), ("freeze", (0,))):
        for seed in seeds:
            plant(tmp_path, Planted(strategy, seed=seed, images=9))
    plant(tmp_path, Planted("full", target="shapes"))
    assert find(tmp_path).cautions == (
        "digits: FEW IMAGES: 9 test images, one of them 11.1 points. So few leave much to chance.",
        "FEW SEEDS: 2 of 3 scores rest on one: they have no interval.",
        "FEW SEEDS: 1 of 3 scores rest on two or three: wide intervals.",
        "1 of 3 intervals have no width: their seeds agree to the image. Others need not.",
    )


def test_each_network_has_its_plans_and_each_task_what_was_advised_for_it(tmp_path):
    for source in ("one", "two"):
        plant(tmp_path, Planted("full", source=source, name=f"full-{source}"))
    for target in ("digits", "shapes"):
        record = plant(tmp_path, Planted("auto", source="one", target=target))
        record.advice.update(case=1, rate=0.01)
        record.write(tmp_path / record.name)
    assert set(find(tmp_path).plans) == {"full, one", "full, two", "auto, one, digits, 100", "auto, one, shapes, 100"}


def test_the_same_records_give_the_same_findings(folder, findings):
    one, two = (json.loads(to_json(found)) for found in (findings, find(folder)))
    one["made"] = two["made"] = ""
    assert one == two
    assert one["differences"][0]["negative_transfer"] is False


def test_the_surest_mistakes_with_their_thumbnails(tmp_path):
    plant(tmp_path, Planted(score=0.99, val=0.5))
    plant(tmp_path, Planted(score=0.9, val=0.7, seed=1))
    surest = [mistake.image for mistake in find(tmp_path).mistakes]
    write_mistakes(tmp_path / "full-s1-digits-100", {surest[1]: "00.png"})
    found = find(tmp_path).mistakes
    assert {mistake.run for mistake in found} == {"full-s1-digits-100"}
    assert [mistake.confidence for mistake in found] == sorted((m.confidence for m in found), reverse=True)
    assert [mistake.thumbnail for mistake in found[:3]] == [None, "mistakes/00.png", None]
    assert all(mistake.label != mistake.predicted for mistake in found)


def test_files_that_are_gone_become_notes(tmp_path):
    for strategy in ("full", "scratch"):
        plant(tmp_path, Planted(strategy))
    (tmp_path / "full-s0-digits-100" / "predictions.csv").unlink()
    (tmp_path / "full-s0-digits-100" / "curves.csv").unlink()
    found = find(tmp_path)
    assert [note.split(":")[0] for note in found.notes[:2]] == ["Curves were not read", "Predictions were not read"]
    assert len(found.cells) == 2


def test_a_folder_that_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no sweep"):
        find(tmp_path)


@pytest.mark.slow
def test_a_thousand_runs_are_reported(tmp_path):
    """How long that takes: bench/report_speed.py."""
    folder = many(tmp_path / "many", runs=1000, images=500)
    page = write_report(folder)
    assert page.stat().st_size > 1_000_000
    cells = json.loads((folder / "report.json").read_text())["cells"]
    assert sum(cell["score"]["n"] for cell in cells) == 1000
