import pytest
import timm
import torch

from thawlab import census
from thawlab.stages import Stage, split_into_stages


def test_it_counts_timms_architectures_and_not_ours():
    names = census.architectures()
    assert "thawlab_demo" in timm.list_models()
    assert set(timm.list_models()) - set(names) == {"thawlab_demo"}
    assert census.architectures(["resnet18", "vit_tiny_patch16_38*"]) == ["resnet18", "vit_tiny_patch16_384"]


# Without a matcher; with one that refuses; with late parameters early, early ones late; two heads; no head.
ODD = ["pit_ti_224", "rdnet_tiny", "volo_d1_224", "hrnet_w18_small", "efficientvim_m1", "levit_128s",
       "deepseek_vit_412m_enc"]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_architectures_split_as_promised(name):
    assert census.examine(name).problems == ()


def test_an_exception_gives_its_reason():
    finding = census.examine("efficientvim_m1")
    assert finding.exceptions == ("weights weighs the classifier's results: counted to the stage before it",)


def test_an_encoder_without_a_classifier_is_an_exception():
    finding = census.examine("mobilenetv5_300m_enc")
    assert finding.exceptions == ("no classifier: the head is put on its pooled features",)
    assert census.examine("test_vit").exceptions == ()


def moved(model, change):
    """Problems of a ResNet whose stages somebody has changed."""
    flow = census.trace(model)
    stages = change(list(split_into_stages(model)))
    census_split, census.split_traced = census.split_traced, lambda *_: tuple(stages)
    try:
        return census._examined(model, flow, "coarse")[0]
    finally:
        census.split_traced = census_split


def with_(stage, **changes):
    return Stage(
        **{name: changes.get(name, getattr(stage, name)) for name in ("name", "parameters", "modules", "size")}
    )


CHANGES = {
    "feeds": lambda s: [s[0], s[2], s[1], *s[3:]],
    "in no stage, or in two": lambda s: [s[0], with_(s[1], parameters=s[1].parameters[1:]), *s[2:]],
    "two stages of one name": lambda s: [s[0], with_(s[1], name="stem"), *s[2:]],
    "not exactly the classifier": lambda s: [
        *s[:-2],
        with_(s[-2], parameters=s[-2].parameters[:-1]),
        with_(s[-1], parameters=(s[-2].parameters[-1], *s[-1].parameters)),
    ],
    "lies in 0 stages": lambda s: [with_(s[0], modules=s[0].modules[:-1]), *s[1:]],
}  # fmt: skip


@pytest.mark.parametrize("problem", CHANGES)
def test_each_broken_promise_is_found(problem):
    with torch.device("meta"):
        model = timm.create_model("test_resnet")
    assert any(problem in found for found in moved(model, CHANGES[problem]))
    assert moved(model, lambda stages: stages) == []


def test_the_command_prints_what_fails_and_says_so_by_its_status(monkeypatch, capsys):
    assert census.main(["test_resnet", "test_vit", "--jobs", "1"]) == 0
    assert capsys.readouterr().out.startswith("2 of 2 architectures split as promised, 0 with an exception;")
    monkeypatch.setattr(census, "split_traced", lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
    assert census.main(["test_resnet", "--jobs", "1"]) == 1
    out = capsys.readouterr().out
    assert "test_resnet: RuntimeError: broken" in out
    assert "0 of 1" in out


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        census.main(["resnet999"])
    assert "no architecture called resnet999" in capsys.readouterr().err
