"""The report's figures: what they show, that they say it in words too, and that names in them are text."""

import io
from dataclasses import replace
from xml.etree import ElementTree

import made_findings as made
import numpy as np
import pytest
from PIL import Image

from thawlab.report import figures
from thawlab.report.figures import confusion, cost, depth, differences, learning, plans, sizes
from thawlab.report.figures.cases import squares
from thawlab.report.figures.style import DARK, GREY, marks, ordered
from thawlab.report.findings import Crossing, Interval, cell_name

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn():
    return figures.draw(made.findings())


def texts(one):
    return [element.text for element in ElementTree.fromstring(one.svg).iter(f"{SVG}text")]


def all_of(drawn):
    return [one for of_kind in drawn.values() for one in of_kind]


def test_every_section_has_its_figures(drawn):
    assert {kind: len(found) for kind, found in drawn.items()} == {
        "cases": 1, "differences": 2, "sizes": 2, "cost": 2, "learning": 1, "depth": 1, "plans": 1, "confusion": 4
    }  # fmt: skip


def test_a_figure_tells_a_screen_reader_what_it_shows(drawn):
    for one in all_of(drawn):
        root = ElementTree.fromstring(one.svg)
        assert root.get("role") == "img"
        named = {element.get("id"): element.text for element in root if element.tag in (f"{SVG}title", f"{SVG}desc")}
        assert [named[name] for name in root.get("aria-labelledby").split()] == [one.title, one.description]
        assert one.table.rows
        assert all(len(row) == len(one.table.columns) for row in one.table.rows)


def test_figures_of_one_page_share_no_id_and_reach_no_address(drawn):
    ids, outside = [], []
    for one in all_of(drawn):
        for element in ElementTree.fromstring(one.svg).iter():
            ids += [element.get("id")] if element.get("id") else []
            outside += [value for key, value in element.attrib.items() if key.endswith("href") and value[0] != "#"]
            assert element.tag.rpartition("}")[2] not in ("style", "script", "metadata")
    assert len(ids) == len(set(ids))
    assert all(address.startswith("data:image/png;base64,") for address in outside)


def test_the_png_shows_the_same_and_is_no_blank(drawn):
    for one in all_of(drawn):
        image = Image.open(io.BytesIO(one.png))
        assert image.width == pytest.approx(2 * one.width, abs=2)
        assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_the_same_findings_give_the_same_files(drawn):
    (again,) = plans.draw(made.findings())
    assert (again.svg, again.png) == (drawn["plans"][0].svg, drawn["plans"][0].png)


def test_the_square_says_who_wins_and_whether_the_recipe_held(drawn):
    said = " ".join(texts(drawn["cases"][0]))
    for words in ("✓ the recipe held", "✗ the recipe did not hold", "? unclear", "★ freeze", "recipe: truncate"):
        assert words in said


def test_a_corner_that_nobody_measured_is_named():
    found = made.findings()
    (one,) = figures.cases.draw(replace(found, cases=found.cases[:3]))
    assert "4 · large, different: not measured" in texts(one)


def test_a_second_target_in_a_corner_makes_a_second_square():
    found = made.findings().cases
    first, second = squares([*found, found[0]])
    assert (sorted(first), sorted(second)) == ([1, 2, 3, 4], [1])


def test_negative_transfer_is_flagged_in_words(drawn):
    found = made.findings()
    harm = [one for one in found.differences if one.negative_transfer and one.task.target == "digits"]
    assert sum("! negative transfer" in text for text in texts(drawn["differences"][0])) == len(harm) > 0


def test_what_the_correction_does_not_leave_is_not_called_worse():
    """Both intervals exclude zero, neither p is below 0.05 after the correction: sign, flag and verdict agree."""
    one = made.findings().differences[0]
    found = [
        replace(one, points=Interval(value, value - 0.01, value + 0.01, 3), p=0.01, p_holm=0.2, verdict="unclear")
        for value in (-0.02, 0.02, 0.0)
    ]
    (figure,) = figures.differences.draw(replace(made.findings(), differences=tuple(found)))
    said = texts(figure)
    assert any("(negative transfer, not after correction)" in text for text in said)
    assert not any("! negative transfer" in text for text in said)
    assert {"below scratch, not after correction", "above scratch, not after correction"} <= set(said)
    assert [row[-1] for row in figure.table.rows] == [
        "unclear (negative transfer, not after correction)",
        "unclear (above scratch, not after correction)",
        "unclear",
    ]
    assert "0 of 3 differences are shown to be above zero, 0 below. Negative transfer: none." in figure.description
    assert "Negative transfer, not after correction: " in figure.description


@pytest.mark.parametrize(
    ("notes", "says"),
    [
        (["ahead of scratch at no size from 100 to 400"], "No curve meets that of scratch within the sizes measured"),
        (["ahead of scratch up to the largest size (400); the lead also changes near 200"], "for good"),
        ([], None),
    ],
)
def test_no_crossing_is_said_as_it_is(notes, says):
    found = made.findings()
    cell = found.cells[0]
    none = [Crossing(cell.task.target, cell.task.source, "full", None, None, note) for note in notes]
    one = next(figures.sizes.draw(replace(found, crossings=tuple(none))))
    assert says is None or says in one.description
    assert ("No curve meets" in one.description) == (says is not None and says.startswith("No curve"))
    assert "scratch" not in one.description if says is None else True


def test_crossings_are_named(drawn):
    said = texts(drawn["sizes"][0])
    assert "freeze = scratch: 300" in said
    assert "truncate = scratch: 330" in said
    assert not any("= scratch" in text for text in texts(drawn["sizes"][1]))


def test_a_learning_curve_is_the_mean_of_a_cells_runs():
    cell = made.findings().cells[0]
    curves = {
        cell.runs[0]: [{"epoch": 0, "val/accuracy": 0.2}, {"epoch": 1, "val/accuracy": 0.5}],
        cell.runs[1]: [{"epoch": 0, "val/accuracy": 0.4}, {"epoch": 1, "val/accuracy": None}],
        cell.runs[2]: [{"epoch": 0, "val/accuracy": float("nan")}],
    }
    assert learning.gathered(cell, curves, "val/accuracy") == [(1, pytest.approx(0.3), 0.2, 0.4), (2, 0.5, 0.5, 0.5)]


def test_many_tasks_are_drawn_in_few_panels_and_that_is_said():
    found = made.findings(targets=("digits", "shapes", "letters"), sizes=(20, 40, 80, 160, 320, 640))
    (one,) = learning.draw(found)
    assert "Of 18 tasks the 12 with the fewest and the most images are drawn" in one.description


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"kept": False, "weights": "cut", "first_epoch": None}, ("cut",)),
        ({"kept": True, "weights": "source", "first_epoch": None, "turn": 0}, ("frozen", "source")),
        ({"kept": True, "weights": "source", "first_epoch": 3, "turn": 0}, ("thaws at epoch 4", "source")),
        ({"kept": True, "weights": "source", "first_epoch": None, "turn": 2}, ("thaws at plateau 2", "source")),
        ({"kept": True, "weights": "new", "first_epoch": 0}, ("trained", "new head")),
    ],
    ids=["cut", "frozen", "thawing", "on a plateau", "the head"],
)
def test_what_a_plan_does_with_a_stage(row, expected):
    assert plans.part(row).lines == expected


def test_a_deep_network_and_several_networks_have_strips_too():
    deep = [{**row, "stage": f"block{i}"} for i, row in enumerate(made.plan("gradual") * 9)]
    (one,) = plans.draw(replace(made.findings(), plans={"gradual": deep, "full": made.plan("full")}))
    assert len(one.table.rows) == len(deep) + 6


@pytest.mark.parametrize(
    ("kind", "most", "what"),
    [
        pytest.param(cost, 6, "targets and sources", id="cost"),
        pytest.param(differences, 6, "targets and sources", id="differences"),
        pytest.param(sizes, 6, "targets and sources", id="sizes"),
        pytest.param(depth, 6, "tasks", id="depth"),
        pytest.param(confusion, 4, "cells", id="confusion"),
    ],
)
def test_what_is_not_drawn_is_counted(kind, most, what):
    found, names = made.findings(), [f"target{i}" for i in range(8)]

    def spread(rows):
        return tuple(replace(row, task=replace(row.task, target=name)) for name in names for row in rows[:24])

    points = [one for one in found.depth if one.task == found.depth[0].task]
    many = replace(found, cells=spread(found.cells), differences=spread(found.differences), depth=spread(points))
    total = len(many.confusions) if kind is confusion else 8
    drawn = list(kind.draw(many))
    assert len(drawn) == most
    assert all(f" Of {total} {what} {most} are drawn" in one.description for one in drawn)
    assert all(" are drawn" not in one.description for one in kind.draw(found) if kind is not confusion)


def test_plans_beyond_those_drawn_are_in_the_table():
    many = {f"depth_{i:02}": made.plan("full") for i in range(30)}
    (one,) = plans.draw(replace(made.findings(), plans=many))
    assert len({row[0] for row in one.table.rows}) == 30
    assert one.description.endswith("Of 30 strategies 24 are drawn; report.json has the numbers of all.")


def test_the_commonest_mistakes():
    counts = np.array([[9, 1, 0], [2, 8, 0], [0, 5, 7]])
    assert confusion.commonest(made.CLASSES, counts) == [("mouse", "dog", 5), ("dog", "cat", 2), ("cat", "dog", 1)]


def test_equal_scores_are_a_tie():
    found, low = made.findings(), Interval(0.1, None, None, 1)
    one, two, *others = found.cells[: len(made.STRATEGIES)]
    cells = (one, replace(two, score=one.score), *(replace(cell, score=low) for cell in others))
    (figure,) = figures.cost.draw(replace(found, cells=cells))
    tie = "Best, a tie: freeze with 45 images (90 M FLOPs, 1.1 s), truncate with 45 images (90 M FLOPs, 1.1 s). "
    assert tie in figure.description
    assert "Cheapest, a tie: freeze with 45 images, truncate with 45 images, " in figure.description
    assert "auto" not in figure.description
    advised = (one, replace(two, strategy="auto, trainer.epochs=2", flops=(one.flops or 0) / 2))
    (figure,) = figures.cost.draw(replace(found, cells=advised))
    assert "Cheapest: auto, trainer.epochs=2 with 45 images (45 M FLOPs). " in figure.description
    assert "without what was measured to advise it" in figure.description
    first = {("trained", 2), ("frozen", 3)}
    points = (replace(p, score=one.score if (p.control, p.kept) in first else low) for p in found.depth)
    (figure,) = figures.depth.draw(replace(found, depth=tuple(points)))
    assert "Best, a tie: trained with 2 stages kept, frozen with 3 stages kept, " in figure.description


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        (2, "9 test images, 2 seeds, 94.4% of the 18 answers right; few seeds: others may mistake other images. "),
        (6, "3 test images, 6 seeds, 94.4% of the 18 answers right. "),
        (1, "18 test images, 94.4% right; one seed: another may mistake other images. "),
    ],
)
def test_a_confusion_matrix_counts_images_and_seeds_apart(seeds, says):
    counts = [[6, 0, 0], [0, 6, 0], [0, 1, 5]]
    found = replace(made.findings(), confusions={"a": (made.CLASSES, counts, seeds)}, cases=())
    (one,) = confusion.draw(found)
    assert one.description == says + "Commonest mistake: mouse taken for dog, once."
    drawn = {1: "18 test images, 94.4% right", 2: "9 test images, 2 seeds, 94.4% right"}
    assert seeds not in drawn or drawn[seeds] in texts(one)


@pytest.mark.parametrize("sources", [1, 2])
def test_the_winners_confusion_matrices_come_first(sources):
    found = made.findings()
    (case, *_) = found.cases
    near = [replace(case.task, source=f"net{i}") for i in range(sources)]
    cells = tuple(replace(found.cells[0], task=task) for task in near)
    counts = ([*made.CLASSES], [[6, 0, 0], [0, 6, 0], [0, 1, 5]], 1)
    names = [cell_name(strategy, task, sources > 1) for strategy in ("a", "b", "c", "d", "full") for task in near]
    won = replace(found, cells=cells, cases=(replace(case, task=near[-1], winners=("full",)),))
    first, *_ = confusion.draw(replace(won, confusions=dict.fromkeys(names, counts)))
    assert first.title == f"Confusion matrix: {names[-1]}"


def test_many_classes_have_a_table_of_mistakes_alone():
    names = [f"class {i}" for i in range(40)]
    counts = (np.eye(40, dtype=int) * 9 + np.eye(40, k=1, dtype=int)).tolist()
    (one,) = confusion.draw(replace(made.findings(), confusions={"a": (names, counts, 1)}, cases=()))
    assert one.table.columns == ("true class", "taken for", "images")
    assert len(one.table.rows) == 15


def test_strategies_are_told_apart_without_colour():
    names = [*made.STRATEGIES, "fresh_top", "lp_ft", "auto", *(f"own {i}" for i in range(30))]
    of = marks(ordered(names))
    assert list(of)[:6] == list(made.STRATEGIES)
    assert len({(mark.marker, str(mark.dash)) for mark in of.values()}) == len(names)


def luminance(colour):
    """Relative luminance, by the formula of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("ground", ["#ffffff", *(ground for ground, _ in plans._LOOKS.values())])
def test_words_stand_out_from_their_ground(ground):
    for colour in (DARK, *([GREY] if ground == "#ffffff" else [])):
        light, dark = sorted((luminance(ground), luminance(colour)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_hostile_names_are_text_in_figures():
    for one in all_of(figures.draw(made.hostile())):
        root = ElementTree.fromstring(one.svg)
        kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert kinds <= {
            "svg", "title", "desc", "defs", "g", "path", "use", "text", "tspan", "image", "clipPath", "rect", "pattern",
        }  # fmt: skip
        assert not any(name.lower().startswith("on") for element in root.iter() for name in element.attrib)
        shown = "".join(root.itertext())
        assert not any(letter in shown for letter in "\x1b\u202e\r")
    assert any(r"$\frac$" in text for text in texts(one)), "a formula was made of a name"


def test_findings_of_nothing_have_no_figures():
    empty = replace(made.findings(), cells=(), differences=(), cases=(), depth=(), plans={}, confusions={}, curves={})
    assert all_of(figures.draw(empty)) == []


def test_one_run_has_figures_without_intervals():
    task = made.Task("digits", "thawlab_demo", 45)
    single = made.cell(task, "freeze", seeds=(0,))
    found = replace(
        made.findings(), cells=(single,), cases=(made.case(1, "digits", 45, "freeze", "unclear"),),
        differences=(replace(made.difference(task, "freeze"), points=made.Interval(0.1, None, None, 1)),),
    )  # fmt: skip
    drawn = figures.draw(found)
    assert [len(drawn[kind]) for kind in ("cases", "differences", "sizes", "cost")] == [1, 1, 0, 1]
