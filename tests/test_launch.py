"""A job that goes wrong costs only itself. Most of this is one sweep of many faults, since each start costs seconds."""

import shutil
from pathlib import Path

import pytest

from thawlab import crashes
from thawlab.record import read_sweep

FAULTS = Path(__file__).with_name("faults.py")
SMALL = (
    "backbone=function backbone.name=faulty backbone.size=32 backbone.mean=[0.5,0.5,0.5] backbone.std=[0.5,0.5,0.5] "
    "strategy=scratch dataset.per_class=4 trainer.epochs=1 logger=none logger.progress=off sweep=s"
)

NO_MEMORY = "killed by the kernel, since the memory was used up (signal 9, SIGKILL)"


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """The faults beside the command; the kernel's count of processes killed for memory is a file there."""
    shutil.copy(FAULTS, tmp_path / "faults.py")
    (tmp_path / "memory.events").write_text("oom_kill 7\n")
    monkeypatch.setattr(crashes, "_memory_files", lambda: [tmp_path / "memory.events"])


def of(*names):
    return "backbone.function=" + ",".join(f"faults.py:{name}" for name in names)


def endings(folder):
    """fault -> (status, reason)"""
    records = read_sweep(folder).records
    return {r.config["backbone"]["function"].partition(":")[2]: (r.status, r.reason) for r in records}


def log_of(folder, fault):
    (name,) = (r.name for r in read_sweep(folder).records if r.config["backbone"]["function"].endswith(f":{fault}"))
    return (folder / name / "train.log").read_text()


def written(folder):
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}


def test_each_fault_costs_its_own_run_alone_and_is_named(command, faults, tmp_path):
    names = ["raises", "exits", "exits_well", "segfaults", "aborts", "killed", "killed_for_memory", "mended", "good"]
    line = f"-m {SMALL} {of(*names)}"
    ended = command(line, apart=True)
    assert ended.status == 1
    folder = tmp_path / "outputs" / "s"
    assert endings(folder) == {
        "raises": ("failed", "RuntimeError: planted: no luck"),
        "exits": ("failed", "its process exited with status 3 before the run's end"),
        "exits_well": ("failed", "its process exited with status 0 before the run's end"),
        "segfaults": ("failed", "killed by signal 11 (SIGSEGV)"),
        "aborts": ("failed", "killed by signal 6 (SIGABRT)"),
        "killed": ("failed", "killed by signal 9 (SIGKILL)"),
        "killed_for_memory": ("out_of_memory", NO_MEMORY),
        "mended": ("failed", "its process exited with status 5 before the run's end"),
        "good": ("finished", None),
    }
    for record in read_sweep(folder).records:
        assert record.plan, "the driver keeps what the run had recorded"
        assert record.data["train"] == 40
        assert record.ended
        assert (folder / record.name / ".hydra" / "overrides.yaml").is_file()
    assert "RuntimeError: planted: no luck" in log_of(folder, "raises")
    assert "faults.py" in log_of(folder, "raises"), "the traceback"
    assert "Segmentation fault" in log_of(folder, "segfaults"), "by faulthandler"
    assert "faults.py" in log_of(folder, "segfaults")
    assert all(said in log_of(folder, "aborts") for said in ("said by C", "terminate called", "Aborted"))
    block = ended.out[ended.out.index("Not counted:") :]
    for record in read_sweep(folder).records:
        if record.status != "finished":
            status = record.status.replace("_", " ")
            assert f"{record.name}: {status}: {record.reason}" in " ".join(block.split())
            assert f"log: outputs/s/{record.name}/train.log\n" in block
    assert "8 of 9 runs did not finish" in block

    before = written(folder)
    (tmp_path / "mended").touch()
    again = command(f"-m {SMALL} {of('mended', 'good')}", apart=True)
    assert again.status == 0
    assert again.out.count("finished already, kept") == 1
    after = written(folder)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {r.name for r in read_sweep(folder).records if ":mended" in r.config["backbone"]["function"]}
    assert endings(folder)["mended"] == ("finished", None)
