"""A job that goes wrong costs only itself. Most of this is one sweep of many faults, since each start costs seconds."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from thawlab import crashes, launch, processes
from thawlab.record import Record, read_sweep

ROOT = Path(__file__).parents[1]
FAULTS = Path(__file__).with_name("faults.py")
SMALL = (
    "backbone=function backbone.name=faulty backbone.size=32 backbone.mean=[0.5,0.5,0.5] backbone.std=[0.5,0.5,0.5] "
    "strategy=scratch dataset.per_class=4 trainer.epochs=1 logger=none logger.progress=off sweep=s"
)

QUICK = "strategy=scratch dataset.per_class=4 trainer.epochs=1 logger=none logger.progress=off sweep=s"
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


ENDINGS = {
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
LAST_WORDS = {
    "raises": ("RuntimeError: planted: no luck", "Traceback", "faults.py"),
    "segfaults": ("Segmentation fault", "faults.py"),
    "aborts": ("said by C", "terminate called", "Aborted"),
}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["exits_well", "segfaults", "killed_for_memory", "mended", "good"], id="a few"),
        pytest.param(list(ENDINGS), id="all", marks=pytest.mark.slow),
    ],
)
def test_each_fault_costs_its_own_run_alone_and_the_next_start_does_what_is_missing(command, faults, tmp_path, names):
    ended = command(f"-m {SMALL} {of(*names)} launch.jobs=2", apart=True)
    assert ended.status == 1
    folder = tmp_path / "outputs" / "s"
    assert endings(folder) == {name: ENDINGS[name] for name in names}
    for record in read_sweep(folder).records:
        assert record.plan, "the driver keeps what the run had recorded"
        assert record.data["train"] == 40
        assert record.ended
        assert (folder / record.name / ".hydra" / "overrides.yaml").is_file()
    for name, words in LAST_WORDS.items():
        assert name not in names or all(word in log_of(folder, name) for word in words)
    block = ended.out[ended.out.index("Not counted:") :]
    for record in read_sweep(folder).records:
        if record.status != "finished":
            status = record.status.replace("_", " ")
            assert f"{record.name}: {status}: {record.reason}" in " ".join(block.split())
            assert f"log: outputs/s/{record.name}/train.log\n" in block
    assert f"{len(names) - 1} of {len(names)} runs did not finish" in block

    before = written(folder)
    (tmp_path / "mended").touch()
    again = command(f"-m {SMALL} {of('mended', 'good')}", apart=True)
    assert again.status == 0
    assert again.out.count("finished already, kept") == 1
    after = written(folder)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {r.name for r in read_sweep(folder).records if ":mended" in r.config["backbone"]["function"]}
    assert endings(folder)["mended"] == ("finished", None)


BUILT = {
    "built_exits": ("failed", "its process exited with status 4 before the run's end"),
    "built_segfaults": ("failed", "killed by signal 11 (SIGSEGV)"),
    "built_hangs": ("timeout", "launch.timeout_minutes=0.3"),
    "good": ("finished", None),
}


@pytest.mark.parametrize(
    ("names", "limit"),
    [
        pytest.param(["built_exits", "good"], "", id="one"),
        pytest.param(list(BUILT), "launch.timeout_minutes=0.3", id="all", marks=pytest.mark.slow),
    ],
)
def test_a_network_that_ends_the_check_costs_only_its_own_runs(command, faults, tmp_path, monkeypatch, names, limit):
    monkeypatch.setattr(launch, "LATER", 2.0)
    line = f"-m {SMALL} {of(*names)} seed=0,1 launch.jobs=2 {limit}"
    ended = command(line, apart=True)
    assert ended.status == 1
    folder = tmp_path / "outputs" / "s"
    records = read_sweep(folder).records
    assert len(records) == 2 * len(names)
    for record in records:
        status, reason = BUILT[record.config["backbone"]["function"].partition(":")[2]]
        assert record.status == status, record.reason
        assert (record.reason or "").startswith(reason or "") or reason in record.reason
    told = [line for line in ended.out.splitlines() if "the check before the first run ended at it" in line]
    assert len(told) == len(names) - 1, "once for both seeds"
    assert all("and so are 1 like it" in line for line in told)
    again = command(line, apart=True)
    assert again.out.count("finished already, kept") == 2


def test_a_finished_run_at_which_the_check_ends_is_kept(command, faults, tmp_path):
    line = f"-m {SMALL} {of('mended', 'good')}"
    (tmp_path / "mended").touch()
    assert command(line, apart=True).status == 0
    before = written(tmp_path / "outputs" / "s")
    with (tmp_path / "faults.py").open("a") as file:
        file.write("\n# other source weights: each is looked at again\nmended = built_exits\n")
    ended = command(line, apart=True)
    assert ended.status == 0
    assert "So what was there is kept." in ended.out
    after = written(tmp_path / "outputs" / "s")
    assert sum(after[name] != before[name] for name in before) == 1, "the good one is made again"


def test_a_full_disk_is_told_in_one_message_and_the_next_start_does_what_is_missing(command, tmp_path, monkeypatch):
    write = Record.write

    def full(record, folder):
        if record.config["seed"] == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(record, folder)

    line = f"-m {QUICK} seed=0,1,2"
    with monkeypatch.context() as patch:
        patch.setattr(Record, "write", full)
        ended = command(line)
    assert ended.status == 1
    assert "2 runs measured, 1 not" in ended.out
    told = ended.out[ended.out.index("1 of 3 runs did not finish") :]
    assert "failed, which could not be recorded: outputs/s/scratch-s1-digits" in told
    assert "cannot be written: No space left on device. Make room there" in told
    assert not list((tmp_path / "outputs" / "s").glob("scratch-s1-*/result.json"))
    again = command(line)
    assert again.status == 0
    assert again.out.count("finished already, kept") == 2


class Started:
    """A command in a process of its own, which can be signalled."""

    def __init__(self, folder, line):
        environment = {k: v for k, v in os.environ.items() if k not in processes._LAUNCHED_BY}
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "train.py", *line.split()], cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def ended(self):
        out, _ = self.process.communicate(timeout=200)
        return self.process.returncode, out


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def jobs_of(started):
    """The processes that a command's jobs run in, and that they are forked from: those that outlive it or not."""
    mine = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().decode()
            folder = os.readlink(path / "cwd")
        except OSError:
            continue
        if "multiprocessing" in line and folder == str(started):
            mine.append(int(path.name))
    return mine


LONG = f"-m {SMALL} launch.jobs=2 trainer.epochs=300"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "reason"),
    [
        pytest.param(signal.SIGINT, 130, "Ctrl-C (SIGINT)", id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, "asked to end (SIGTERM)", id="asked to end"),
        pytest.param(signal.SIGKILL, -9, "asked to end (SIGTERM)", id="killed"),
    ],
)
def test_a_sweep_that_ends_leaves_no_job_behind_and_what_was_reached_is_saved(faults, tmp_path, number, status, reason):
    sweep = Started(tmp_path, f"{LONG} {of('slow', 'raises')} seed=0")
    until((tmp_path / "begun").exists)
    time.sleep(1)
    os.kill(sweep.process.pid, number)
    ended, out = sweep.ended()
    assert ended == status, out
    until(lambda: not jobs_of(tmp_path), 30)
    assert "Traceback" not in out
    found = endings(tmp_path / "outputs" / "s")
    assert found["slow"] == ("interrupted", reason)
    assert out.count("Stopping: 1 run saves what it has. Ctrl-C again") == (number != signal.SIGKILL)
    assert out.count("Interrupted. The same command goes on where it stopped.") == (number != signal.SIGKILL)
    assert list((tmp_path / "outputs" / "s").glob("scratch*/checkpoints/*.ckpt")), "to go on from"


def test_ctrl_c_before_the_first_run_ends_what_imports_for_it(tmp_path):
    sweep = Started(tmp_path, f"-m {QUICK} seed=0,1")
    assert sweep.process.stdout.readline() == "2 runs -> outputs/s\n"
    until(lambda: len(jobs_of(tmp_path)) == 2, 5)  # what the jobs are forked from, and what watches it
    os.killpg(sweep.process.pid, signal.SIGINT)
    assert sweep.process.wait(30) == 130
    until(lambda: not jobs_of(tmp_path), 5)
    assert sweep.ended()[1] == "\nInterrupted. The same command goes on where it stopped.\n"


def test_ctrl_c_while_that_process_starts_is_not_lost(monkeypatch):
    monkeypatch.setattr(launch.forkserver, "ensure_running", lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        launch.get_ready()


@pytest.mark.slow
def test_a_run_that_was_asked_to_end_twice_is_not_waited_for(faults, tmp_path):
    sweep = Started(tmp_path, f"{LONG} checkpoint.minutes=0 {of('saves_slowly')}")
    until((tmp_path / "begun").exists)
    os.killpg(sweep.process.pid, signal.SIGINT)
    until((tmp_path / "saving").exists)
    os.killpg(sweep.process.pid, signal.SIGINT)
    began = time.monotonic()
    assert sweep.ended()[0] == 130
    assert time.monotonic() - began < launch.GRACE / 4
    assert endings(tmp_path / "outputs" / "s")["saves_slowly"] == ("interrupted", "Ctrl-C (SIGINT)")


@pytest.mark.slow
def test_a_run_that_hangs_is_killed_by_its_time_limit_and_says_where_it_hung(command, faults, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "LATER", 2.0)
    ended = command(f"-m {SMALL} {of('hangs', 'good')} launch.timeout_minutes=0.15 launch.jobs=2", apart=True)
    assert ended.status == 1
    found = endings(tmp_path / "outputs" / "s")
    assert found["good"] == ("finished", None)
    status, reason = found["hangs"]
    assert status == "timeout"
    assert "launch.timeout_minutes=0.15" in reason
    assert "faults.py" in log_of(tmp_path / "outputs" / "s", "hangs")
    assert "ended by its time limit: it took longer than launch.timeout_minutes=0.15" in ended.out


@pytest.mark.slow
def test_the_same_run_started_twice_is_done_once_and_the_second_says_who_has_it(faults, tmp_path):
    first = Started(tmp_path, f"{LONG} {of('slow')}")
    until((tmp_path / "begun").exists)
    (slow,) = (tmp_path / "outputs" / "s").glob("scratch*/.run.owner")
    owner = json.loads(slow.read_text())
    second = Started(tmp_path, f"{LONG.removeprefix('-m ')} {of('slow')}")
    third = Started(tmp_path, f"{LONG} {of('slow', 'mended')}")
    status, out = second.ended()
    assert status == 2
    assert f"is being run by process {owner['process']} on {owner['host']} since {owner['since']}" in out
    status, out = third.ended()
    assert status == 1
    assert out.count(f"not run: outputs/s/{slow.parent.name} is being run by process {owner['process']}") == 1
    assert f"{slow.parent.name}: still running (process {owner['process']} on" in " ".join(out.split())
    assert endings(tmp_path / "outputs" / "s")["mended"][0] == "failed", "the other was done"
    first.process.terminate()
    assert first.ended()[0] == 143


@pytest.mark.slow
def test_a_sweep_started_again_at_once_waits_for_a_run_that_still_saves(faults, tmp_path):
    words = f"-m {SMALL} checkpoint.minutes=0 trainer.batch_size=2 trainer.epochs=3 {of('saves_slowly')}"
    first = Started(tmp_path, words)
    until((tmp_path / "begun").exists)
    time.sleep(1)
    first.process.kill()
    until((tmp_path / "saving").exists)
    second = Started(tmp_path, words)
    assert any("is still being saved by process" in line for line in second.process.stdout)
    (tmp_path / "saved").touch()
    status, out = second.ended()
    assert status == 0, out
    (record,) = read_sweep(tmp_path / "outputs" / "s").records
    assert record.status == "finished"
    assert len(record.costs["resumed"]) == 1, "it went on from what was saved"
    first.ended()
