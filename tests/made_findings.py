"""Findings made by hand: what a report of the four cases would say, for the page's and the figures' tests."""

import math
from dataclasses import replace

from thawlab.report.findings import (
    BETTER,
    UNCLEAR,
    WORSE,
    Case,
    Cell,
    Crossing,
    DepthPoint,
    Difference,
    EffectiveData,
    Findings,
    Interval,
    Mistake,
    PaysOff,
    Reached,
    RunRow,
    SourceCost,
    Task,
)

STRATEGIES = ("freeze", "truncate", "partial", "full", "gradual", "scratch")
SIZES = (45, 90, 300, 1200)
STAGES = ("conv1", "conv2", "conv3", "fc1", "fc2", "head")
CLASSES = ["cat", "dog", "mouse"]
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    r"$\frac$",
    "</svg><h1>broken</h1>",
    "two\nlines\r",
    "turned\u202egpj.exe",
    "]]><!-- & {{ 7 * 7 }} {% raw %} &lt;",
    "half \udcff and \x1b[2J",
    "_hidden",
    "</script><script>document.title='owned'</script>",
)


def score_of(strategy, size, target):
    """A curve with a known end: scratch is the worst with few images and the best with many."""
    base = 0.5 + 0.1 * STRATEGIES.index(strategy) * (-1 if target == "shapes" else 1) / 10
    slope = {"scratch": 0.16, "full": 0.1}.get(strategy, 0.06)
    return min(0.99, base + (0.2 if strategy != "scratch" else 0) + slope * math.log(size / 45))


def cell(task, strategy, seeds=(0, 1, 2)):
    value = score_of(strategy, task.size, task.target)
    runs = tuple(f"{strategy}-{task.target}-{task.size}-s{seed}" for seed in seeds)
    score = (
        Interval(value, value - 0.03, value + 0.03, len(seeds)) if len(seeds) > 1 else Interval(value, None, None, 1)
    )
    cost = task.size * (3 if strategy in ("full", "scratch") else 1)
    return Cell(
        task,
        strategy,
        0.01,
        ((0.003, value - 0.1), (0.01, value)),
        runs,
        seeds,
        score,
        497,
        seconds=cost / 40,
        flops=cost * 2e6,
        images=task.size * 30.0,
        search=(cost / 10, cost * 4e6, task.size * 60.0),
    )


def plan(strategy):
    rows = []
    for i, stage in enumerate(STAGES):
        head = stage == "head"
        row = {
            "stage": stage,
            "kept": True,
            "weights": "new" if head else "source",
            "first_epoch": 0,
            "turn": 0,
            "rate": 0.01,
            "parameters": 100,
            "share": 0.1,
            "norm": "-",
        }
        if strategy == "freeze" and not head:
            row |= {"first_epoch": None}
        if strategy == "truncate" and not head:
            row |= {"first_epoch": None} if i < 3 else {"kept": False, "weights": "cut", "first_epoch": None}
        if strategy == "partial" and i < 3:
            row |= {"first_epoch": None}
        if strategy == "gradual":
            row |= {"first_epoch": 3 * (5 - i)}
        if strategy == "scratch" and not head:
            row |= {"weights": "random"}
        rows.append(row)
    return rows


def difference(task, strategy):
    value = score_of(strategy, task.size, task.target) - score_of("scratch", task.size, task.target)
    verdict = BETTER if value > 0.05 else WORSE if value < -0.05 else UNCLEAR
    p = 0.0002 if verdict != UNCLEAR else 0.4
    return Difference(task, strategy, Interval(value, value - 0.05, value + 0.05, 3), 497, p, min(1, 5 * p), verdict)


def case(number, target, size, recipe, held):
    task = Task(target, "thawlab_demo", size)
    winner = max(STRATEGIES, key=lambda one: score_of(one, size, target))
    sentence = f"With {size} images of {target}, {winner} is best; the recipe, {recipe}: {held}."
    return Case(number, task, recipe, (winner,), held, sentence)


def row_of(one, seed, i, status="finished"):
    return RunRow(
        one.runs[i],
        one.task,
        one.strategy,
        0.01,
        seed,
        status,
        None,
        "measured",
        one.score.value + 0.01 * i,
        one.score.value,
        one.seconds,
        one.flops,
        1350,
        0.5,
    )


def curve(value, epochs=8):
    return [
        {"epoch": e, "step": 3 * e + 3, "val/accuracy": value * (1 - 0.6 * 0.6**e), "val/loss": 1.0 / (e + 1)}
        for e in range(epochs)
    ]


def findings(targets=("digits", "shapes"), sizes=SIZES):
    """Findings with something for every section."""
    tasks = [Task(target, "thawlab_demo", size) for target in targets for size in sizes]
    cells = tuple(cell(task, strategy) for task in tasks for strategy in STRATEGIES)
    failed = RunRow("broken-s0", None, "full", None, 0, "failed", "the loss was no number", "no result", *[None] * 6)
    runs = (*(row_of(one, seed, i) for one in cells for i, seed in enumerate(one.seeds)), failed)
    small, large = sizes[0], sizes[-1]
    near, far = targets[0], targets[-1]
    return Findings(
        title="four_cases",
        folder="outputs/four_cases",
        commands=(("-m", "experiment=four_cases", "seed=0,1,2", "dataset.root=my photos"),),
        metric="test/accuracy",
        made="2026-11-28T12:00:00+00:00",
        versions={"thawlab": ["0.1.0"], "torch": ["2.15.0", "2.16.0"], "python": ["3.11.4"]},
        runs=runs,
        cells=cells,
        differences=tuple(difference(task, s) for task in tasks for s in STRATEGIES if s != "scratch"),
        crossings=(
            Crossing(near, "thawlab_demo", "freeze", 300.0, (90, 300), "between two sizes measured"),
            Crossing(near, "thawlab_demo", "truncate", 330.0, (300, 1200), "between two sizes measured"),
            Crossing(far, "thawlab_demo", "full", None, None, "full stays above scratch"),
        ),
        effective=tuple(EffectiveData(task, "full", 0.7, 4.0 * task.size, 3.0 * task.size, "") for task in tasks[:2]),
        sources=(SourceCost("thawlab_demo", 1200.0, 3e13, 5e6, "the weights' own file"),),
        reached=(Reached(tasks[0], "full", 0.7, 3.0, 1e9, 900.0), Reached(tasks[0], "scratch", 0.7, None, None, None)),
        pays_off=(PaysOff(tasks[0], "freeze", 2e9, 15000.0, ""), PaysOff(tasks[1], "full", None, None, "costs more")),
        cases=(
            case(1, near, small, "freeze", "held"),
            case(2, far, small, "truncate", "did not hold"),
            case(3, near, large, "full", "unclear"),
            case(4, far, large, "scratch", "held"),
        ),
        depth=tuple(
            DepthPoint(
                tasks[0],
                control,
                kept,
                ("-", *STAGES)[kept],
                Interval(v := 0.9 - 0.03 * kept * i, v - 0.02, v + 0.02, 3),
            )
            for i, control in enumerate(("trained", "frozen", "random"))
            for kept in range(6)
        ),
        plans={strategy: plan(strategy) for strategy in STRATEGIES},
        confusions={
            f"{one.strategy}, {one.task.target}, {one.task.size}": (CLASSES, [[9, 1, 0], [2, 8, 0], [0, 3, 7]], 3)
            for one in cells
        },
        curves={run: curve(one.score.value + 0.02 * i) for one in cells for i, run in enumerate(one.runs)},
        mistakes=tuple(
            Mistake(cells[0].runs[0], f"images/{i}.png", "cat", "dog", 0.99 - 0.1 * i, f"mistakes/0{i}.png")
            for i in range(3)
        ),
        left_out=(
            ("broken-s0", "failed: the loss was no number"),
            ("gone-s1", "missing: planned, but it left no record"),
        ),
        cautions=("FEW IMAGES: 9 test images.",),
        notes=("Intervals are over 3 seeds.",),
        advice={
            cells[0].runs[0]: {
                "case": 1,
                "size": "small",
                "similar": True,
                "like": "freeze",
                "rate": 0.01,
                "strategy": {"name": "freeze"},
                "reason": "45 images are few. The source's features tell 90% of them apart.",
                "close": [
                    {
                        "like": "truncate",
                        "words": "strategy=truncate",
                        "why": "the features of conv3 are nearly as good",
                    }
                ],
            }
        },
    )


def hostile(names=HOSTILE):
    """Findings in which every text from outside is one of `names`."""
    made = findings(targets=names[:2], sizes=(45, 90))
    source, bad = names[2], "  ".join(names)
    tasks = {one.task: Task(one.task.target, source, one.task.size) for one in made.cells}
    rename = dict(zip(STRATEGIES, names, strict=False))

    def strategy(one):
        return rename.get(one, one)

    def moved(items, **more):
        return tuple(replace(one, task=tasks[one.task], strategy=strategy(one.strategy), **more) for one in items)

    cells = tuple(replace(one, runs=tuple(f"{names[0]}{run}" for run in one.runs)) for one in moved(made.cells))
    return replace(
        made,
        title=bad,
        folder=bad,
        commands=(names,),
        metric="test/accuracy",
        versions={n: [n] for n in names},
        runs=tuple(
            replace(
                row,
                name=f"{names[0]}{row.name}",
                task=tasks.get(row.task),
                strategy=strategy(row.strategy),
                reason=bad,
                status=names[3],
                role=names[4],
            )
            for row in made.runs
        ),
        cells=cells,
        differences=moved(made.differences),
        effective=moved(made.effective, note=bad),
        crossings=tuple(
            replace(one, source=source, strategy=strategy(one.strategy), note=bad) for one in made.crossings
        ),
        sources=(replace(made.sources[0], source=source, told_by=bad),),
        reached=moved(made.reached),
        pays_off=moved(made.pays_off, note=bad),
        cases=tuple(
            replace(
                one,
                task=tasks[one.task],
                recipe=strategy(one.recipe),
                sentence=bad,
                held=names[3],
                winners=tuple(map(strategy, one.winners)),
            )
            for one in made.cases
        ),
        depth=tuple(
            replace(one, task=tasks[one.task], control=names[one.kept % 4], stage=names[one.kept]) for one in made.depth
        ),
        plans={
            strategy(name): [{**row, "stage": bad, "weights": bad} for row in rows] for name, rows in made.plans.items()
        },
        confusions={bad: (list(names), [[i + j for i in range(len(names))] for j in range(len(names))], 1)},
        curves={f"{names[0]}{run}": rows for run, rows in made.curves.items()},
        mistakes=tuple(
            replace(one, run=f"{names[0]}{one.run}", image=bad, label=names[1], predicted=names[0])
            for one in made.mistakes
        ),
        left_out=tuple((name, name) for name in names),
        cautions=names,
        notes=names,
        advice={
            name: {"case": name, "reason": name, "like": name, "close": [{"like": name, "why": name}]} for name in names
        },
    )
