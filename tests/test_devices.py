import pytest

from thawlab.devices import Place, Places, visible_gpus

CPU = {"accelerator": "cpu", "devices": 1}
GPU = {"accelerator": "gpu", "devices": 1}
TWO = {"accelerator": "gpu", "devices": 2}


def taken(places, *trainers):
    return [place and place.gpus for place in map(places.take, trainers)]


def test_a_gpu_to_each_run_and_one_run_on_the_cpu_beside_them():
    places = Places("auto", ["0", "1", "2"])
    assert taken(places, GPU, TWO, GPU, CPU, CPU) == [("0",), ("1", "2"), None, (), None]
    places.give_back(Place(("1", "2")))
    assert taken(places, TWO, GPU, GPU, GPU) == [("1", "2"), None, None, None]
    places.give_back(Place())
    assert taken(places, CPU, CPU) == [(), None]


def test_as_many_as_asked_for_share_the_gpus_evenly():
    places = Places(5, ["3", "7"])
    assert taken(places, GPU, GPU, GPU, CPU, GPU, GPU) == [("3",), ("7",), ("3",), (), ("7",), None]


@pytest.mark.parametrize(("jobs", "gpus", "expected"), [("auto", [], False), (1, ["0", "1"], False), (2, [], True)])
def test_whether_runs_share_the_terminal(jobs, gpus, expected):
    assert Places(jobs, gpus).several is expected
    assert Places("auto", ["0", "1"]).several


def test_a_run_sees_its_own_gpus_alone_and_one_on_the_cpu_what_there_is():
    assert Place(("2", "GPU-5f")).environment == {"CUDA_VISIBLE_DEVICES": "2,GPU-5f"}
    assert Place().environment == {}


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("4, 6", 2, ["4", "6"]),
        ("4,9", 1, ["4"]),
        ("", 0, []),
        ("GPU-a,GPU-b", 2, ["GPU-a", "GPU-b"]),
    ],
)
def test_gpus_are_named_as_they_were_given_to_us(monkeypatch, visible, count, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert visible_gpus() == expected
