from dataclasses import replace
from pathlib import Path

import pytest
import torch

from thawlab import trainer
from thawlab.errors import UserError
from thawlab.trainer import TrainerSpec, build_trainer


@pytest.mark.parametrize(
    ("values", "says"),
    [
        pytest.param({"accelerator": "tpu"}, r"trainer\.accelerator is 'tpu'.*Valid: cpu, gpu", id="accelerator"),
        pytest.param({"precision": "bf17"}, r"trainer\.precision is 'bf17'. Did you mean 'bf16'", id="precision"),
        pytest.param({"monitor": "val/acuracy"}, r"Did you mean 'val/accuracy'", id="monitor"),
        pytest.param({"precision": "fp16"}, r"needs a GPU. On a CPU take trainer\.precision=bf16", id="fp16 on a CPU"),
        pytest.param({"epochs": 0}, r"trainer\.epochs is 0", id="no epochs"),
        pytest.param({"workers": -1}, r"trainer\.workers is -1", id="workers"),
        pytest.param({"clip_norm": 0.0}, r"trainer\.clip_norm is 0\.0", id="clipping"),
        pytest.param({"ema_decay": 1.0}, r"trainer\.ema_decay is 1\.0.*0 < x < 1", id="an average that never moves"),
        pytest.param({"ema_decay": 0.0}, r"trainer\.ema_decay is 0\.0", id="no average"),
        pytest.param({"early_stopping": 0}, r"trainer\.early_stopping is 0", id="early stopping"),
        pytest.param(
            {"batch_size": "big"}, r"trainer\.batch_size is 'big'\. Give a number of images, or auto", id="word"
        ),
        pytest.param({"batch_size": 30, "devices": 2, "accumulate": 4}, r"Give a multiple of 8", id="shares"),
    ],
)
def test_what_cannot_work_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        TrainerSpec(**values)


@pytest.mark.parametrize(
    ("monitor", "task", "expected"),
    [
        (None, "multiclass", "val/accuracy"),
        (None, "multilabel", "val/mean_average_precision"),
        ("val/macro_f1", "multilabel", "val/macro_f1"),
        ("val/loss", "multiclass", "val/loss"),
    ],
)
def test_the_task_says_what_is_monitored(monitor, task, expected):
    spec = TrainerSpec(monitor=monitor).for_task(task)
    assert spec.monitor == spec.monitored == expected
    assert spec.for_task(task) == spec


@pytest.mark.parametrize(
    ("monitor", "task"), [("val/mean_average_precision", "multiclass"), ("val/balanced_accuracy", "multilabel")]
)
def test_a_score_that_the_task_lacks_is_refused(monitor, task):
    spec = TrainerSpec(monitor=monitor)
    with pytest.raises(UserError, match=rf"trainer\.monitor is '{monitor}', but the images are {task}.*Valid: val/"):
        spec.for_task(task)


def test_an_automatic_batch_size_stands_until_it_is_found():
    spec = TrainerSpec(batch_size="auto", devices=2, accumulate=4)
    assert replace(spec, batch_size=64).batch == 16
    with pytest.raises(AssertionError):
        _ = spec.batch


def test_more_gpus_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"trainer\.devices=2, but this machine shows 1 CUDA"):
        TrainerSpec(accelerator="gpu", devices=2)


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("val/accuracy", "max"), ("val/macro_f1", "max"), ("val/loss", "min"), ("val/calibration_error", "min")],
)
def test_better_is(monitor, mode):
    spec = TrainerSpec(monitor=monitor)
    assert spec.monitor_mode == mode


def test_the_trainer_writes_no_checkpoint_by_itself(tmp_path):
    assert not build_trainer(TrainerSpec(), tmp_path, [], None).checkpoint_callbacks


def test_the_trainer_is_what_the_config_says(tmp_path):
    spec = TrainerSpec(epochs=3, accumulate=2, clip_norm=0.5, early_stopping=4, precision="bf16")
    trainer = build_trainer(spec, tmp_path, [], None)
    assert (trainer.max_epochs, trainer.accumulate_grad_batches, trainer.gradient_clip_val) == (3, 2, 0.5)
    assert trainer.precision == "bf16-mixed"
    assert trainer.early_stopping_callback is not None
    assert (trainer.early_stopping_callback.patience, trainer.early_stopping_callback.monitor) == (4, "val/accuracy")
    assert not trainer.loggers


def test_the_deterministic_flag_does_not_outlive_its_run(tmp_path):
    build_trainer(TrainerSpec(deterministic=True), tmp_path, [], None)
    assert torch.are_deterministic_algorithms_enabled()
    build_trainer(TrainerSpec(deterministic=False), tmp_path, [], None)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("accelerator", "native", "flops", "expected"),
    [
        ("cpu", True, 2e9, "bf16"),
        ("cpu", True, 1e7, "fp32"),
        ("cpu", False, 2e9, "fp32"),
        ("gpu", True, 1e7, "bf16"),
        ("gpu", False, 2e9, "fp32"),
    ],
)
def test_precision_follows_the_device_and_the_network(accelerator, native, flops, expected, monkeypatch):
    monkeypatch.setattr(trainer, "computes_in_bf16", lambda _: native)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    spec = TrainerSpec(accelerator=accelerator, precision="auto")
    assert spec.resolved(lambda: flops).precision == expected
    assert TrainerSpec(precision="fp32").resolved(lambda: flops).precision == "fp32"


def test_the_processor_is_asked_what_it_computes_in():
    flags = Path("/proc/cpuinfo")
    if not flags.exists():
        pytest.skip("this system does not list its processor's instructions")
    known = flags.read_text()
    assert trainer.computes_in_bf16("cpu") == ("avx512_bf16" in known or "amx_bf16" in known)
