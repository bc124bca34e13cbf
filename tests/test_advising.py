"""Runs whose strategy follows from what is measured; where the figures matter they are planted."""

import itertools
from dataclasses import replace

import pytest
from planted_similarity import DEMO, EARLY_BEST, LATE_BEST, planted
from small_runs import carried_out, config_of, from_weights, same_bits, with_several_labels

from thawlab import advising, prepare
from thawlab import run as run_module
from thawlab.advice import Advice, advise
from thawlab.errors import UserError
from thawlab.record import Record
from thawlab.run import audit_only
from thawlab.saving import Saving
from thawlab.similarity import gathering
from thawlab.survey import survey
from thawlab.use import load

EARLY, LATE = planted(EARLY_BEST, per_class=4.0), planted(LATE_BEST, per_class=4.0)
ADVISED = advise(EARLY, DEMO, 40)


@pytest.fixture(autouse=True)
def _nothing_handed_on(monkeypatch):
    monkeypatch.setattr(advising, "_handed", {})
    monkeypatch.setattr(advising, "_found", {})


@pytest.fixture
def measured(monkeypatch):
    """Let each measure give the next of these figures, the last again and again; counts them."""
    asked = []

    def plant(*similarities):
        given = itertools.chain(similarities, itertools.repeat(similarities[-1]))

        def measure(config, splits, store):
            asked.append(config["seed"])
            return next(given)

        monkeypatch.setattr(gathering, "measure", measure)
        return asked

    return plant


@pytest.fixture
def demo(tmp_path):
    return [*from_weights(tmp_path, "demo"), f"cache.folder={tmp_path / 'cache'}"]


def test_a_run_does_what_it_is_advised_and_says_so(tmp_path, demo, measured, capsys):
    measured(EARLY)
    left = carried_out(tmp_path / "auto", *demo, "strategy=auto")
    out = capsys.readouterr().out
    assert left.record.status == "finished", left.record.reason
    assert left.record.advice == ADVISED.to_plain()
    assert left.record.config["strategy"]["auto"]
    assert ADVISED.words == "strategy=gradual strategy.keep=conv3 strategy.thaw.epochs=1 optimizer.lr=0.016"
    assert ADVISED.reason in out
    assert ADVISED.words in out
    same = carried_out(tmp_path / "by name", *demo, *ADVISED.words.split())
    assert same.record.plan == left.record.plan
    assert same.record.advice == {}
    assert same_bits(same.weights, left.weights)
    assert same.predictions == left.predictions

    network = load(left.folder).network
    assert {name.split(".")[1] for name, _ in network.named_parameters() if name.startswith("body.")} <= set(DEMO[:3])
    replace(left.record, advice={}).write(left.folder)
    with pytest.raises(UserError, match=r"result\.json tells of no network .*advice is not as thawlab writes it"):
        load(left.folder)


def test_a_run_that_goes_on_keeps_its_advice(tmp_path, demo, measured, monkeypatch):
    asked = measured(EARLY, EARLY, LATE)
    words = [*demo, "strategy=auto", "checkpoint.steps=1", "cache=off"]
    reference = carried_out(tmp_path / "reference", *words)

    class Killed(BaseException):
        """As SIGKILL."""

    def save_and_die(self, trainer, module):
        save(self, trainer, module)
        raise Killed

    save = Saving._save
    monkeypatch.setattr(Saving, "_save", save_and_die)
    with pytest.raises(Killed):
        carried_out(tmp_path / "run", *words)
    monkeypatch.setattr(Saving, "_save", save)
    left = carried_out(tmp_path / "run", *words)
    assert left.record.costs["resumed"]
    assert len(asked) == 2, "what was advised stands in the checkpoint"
    assert left.record.advice == ADVISED.to_plain()
    assert same_bits(left.weights, reference.weights)
    assert left.record.metrics == reference.record.metrics


def test_the_audit_alone_tells_the_advice(demo, measured):
    measured(EARLY)
    said = audit_only(config_of(*demo, "strategy=auto"))
    assert ADVISED.reason in said


def test_a_sweep_hands_on_what_its_check_was_advised(demo, measured):
    asked = measured(EARLY)
    config = config_of(*demo, "strategy=auto")
    advised = survey([("auto", config), ("freeze", config_of(*demo, "strategy=freeze"))], []).advised
    assert asked == [0]
    advising.remember(advised)
    assert prepare.prepare(config).advice == ADVISED
    assert asked == [0], "what was handed on is not measured again"
    prepare.prepare(config_of(*demo, "strategy=auto", "seed=1"))
    assert asked == [0, 1], "another seed has other images"


def test_several_processes_of_one_run_are_told_the_same(tmp_path, demo, measured):
    asked = measured(EARLY)
    config = config_of(*demo, "strategy=auto", "trainer.devices=2")
    work = run_module._for_each_process(Record("a", "running", config), config, tmp_path / "run")
    (handed,) = [one for one in work.args if ADVISED in one.values()]
    assert len(asked) == 1
    assert list(handed.values()) == [ADVISED]


def test_several_processes_that_a_launcher_started_are_refused(demo, measured, monkeypatch):
    measured(EARLY)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(UserError, match=r"strategy is auto, but a launcher .*scripts/advise\.py"):
        prepare.prepare(config_of(*demo, "strategy=auto", "trainer.devices=2"))


def test_only_the_rates_of_adamw_are_known(demo, measured):
    measured(EARLY)
    prepared = prepare.prepare(config_of(*demo, "strategy=auto", "optimizer=sgd", "optimizer.lr=0.07"))
    assert prepared.specs.optimizer.lr == prepared.advice.rate == 0.07
    assert prepare.prepare(config_of(*demo, "strategy=auto", "optimizer.lr=0.07")).specs.optimizer.lr == 0.016


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("strategy.train=0", r"strategy\.train is 0, but strategy=auto chooses it"),
        ("strategy.keep=conv2", r"strategy\.keep is conv2"),
        ("strategy.thaw.when=every", r"strategy\.thaw is \{'when': 'every'"),
        ("strategy.rates.head=0.1", r"strategy\.rates is"),
        ("strategy.weights=random", r"strategy\.weights is random"),
    ],
)
def test_what_would_do_nothing_is_refused(demo, word, says):
    with pytest.raises(UserError, match=says):
        prepare.prepare(config_of(*demo, "strategy=auto", word))


def test_norms_stay_the_users_choice(demo, measured):
    measured(EARLY)
    assert prepare.prepare(config_of(*demo, "strategy=auto", "strategy.norm=adapt")).built.plan.norm == "adapt"


def test_images_of_several_labels_are_refused(demo, monkeypatch):
    several = with_several_labels(prepare.prepare(config_of(*demo, "strategy=freeze")).splits)
    monkeypatch.setattr(prepare, "load_splits", lambda *_: several)
    with pytest.raises(UserError, match=r"dataset\.task is multilabel, but .* one class each.*strategy=freeze"):
        prepare.prepare(config_of(*demo, "strategy=auto"))


def test_weights_that_nobody_has_are_told(tmp_path):
    nets = tmp_path / "nets.py"
    nets.write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))\n"
    )
    words = [f"backbone.function={nets}:build", "backbone.name=mine", "backbone.mean=[0,0,0]", "backbone.std=[1,1,1]"]
    with pytest.raises(UserError, match=r"backbone\.weights is not set"):
        prepare.prepare(config_of(*words, "strategy=auto"))


@pytest.mark.parametrize("words", [["cache=auto"], ["cache=off", "seed=1"]])
def test_from_images_to_a_finished_run(tmp_path, demo, words):
    left = carried_out(tmp_path / "run", *demo, "strategy=auto", *words)
    assert left.record.status == "finished", left.record.reason
    advice = Advice.from_plain(left.record.advice)
    assert advice.images == advice.similarity.images == 40
    assert [one.stage for one in advice.similarity.stages] == list(DEMO)
    again = advise(advice.similarity, DEMO, advice.images)
    assert again.words == advice.words, "the record's figures are those of its advice"
    assert left.record.plan[-1]["rate"] == advice.rate


def test_each_number_of_channels_has_an_advice_of_its_own(demo, measured):
    measured(EARLY, LATE)
    found = [prepare.prepare(config_of(*demo, "strategy=auto", f"dataset.channels={n}")).advice for n in (1, 3)]
    assert [one.like for one in found] == ["gradual", "freeze"]
    advising.remember(advising.known())
    again = [prepare.prepare(config_of(*demo, "strategy=auto", f"dataset.channels={n}")).advice for n in (1, 3)]
    assert again == found
