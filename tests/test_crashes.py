import re

import pytest

from thawlab import crashes
from thawlab.crashes import Ended, MemoryKills, complete, crashed
from thawlab.record import Record

RUNNING = Record("run", "running", {"seed": 1}, plan=[], data={"train": 3}, started="2026-01-01T00:00:00+00:00")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Sets how many processes the kernel killed for memory in this cgroup, whose files are in tmp_path."""
    monkeypatch.setattr(crashes, "CGROUP", tmp_path)
    monkeypatch.setattr(crashes, "OF_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(crashes, "VMSTAT", tmp_path / "vmstat")

    def tell(count, place="job/memory.events", cgroup="0::/job\n"):
        (tmp_path / "cgroup").write_text(cgroup)
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(f"low 0\nhigh 0\nmax 3\noom 2\noom_kill {count}\n")

    return tell


PLACES = [
    pytest.param("job/memory.events", "0::/job\n", id="cgroup v2"),
    pytest.param("memory.events", "0::/../elsewhere\n", id="cgroup v2, seen from a container"),
    pytest.param("memory/a/memory.oom_control", "9:cpu:/a\n4:memory,hugetlb:/a\n", id="cgroup v1"),
    pytest.param("vmstat", "", id="none: the machine's"),
]


@pytest.mark.parametrize(("place", "cgroup"), PLACES)
def test_a_kill_for_memory_is_told_once_for_each_that_the_kernel_counts(kernel, place, cgroup):
    kernel(5, place, cgroup)
    kills = MemoryKills()
    assert crashed(-9, kills) == Ended("failed", "killed by signal 9 (SIGKILL)")
    kernel(6, place, cgroup)
    assert crashed(-11, kills) == Ended("failed", "killed by signal 11 (SIGSEGV)")
    assert crashed(-9, kills).status == "out_of_memory"
    assert crashed(-9, kills).status == "failed"


def test_where_the_kernel_counts_nothing_a_kill_is_a_kill(tmp_path, monkeypatch):
    for name in ("CGROUP", "OF_PROCESS", "VMSTAT"):
        monkeypatch.setattr(crashes, name, tmp_path / "nowhere")
    assert crashed(-9, MemoryKills()).status == "failed"


@pytest.mark.parametrize(
    ("code", "reason"),
    [(3, "exited with status 3"), (0, "exited with status 0"), (-6, r"signal 6 \(SIGABRT\)"), (-50, "real-time")],
)
def test_how_a_process_ended_is_said(kernel, code, reason):
    kernel(0)
    ended = crashed(code, MemoryKills())
    assert ended.status == "failed"
    assert re.search(reason, ended.reason)


def test_what_a_run_had_recorded_stays(tmp_path):
    RUNNING.write(tmp_path)
    assert complete(tmp_path, {"seed": 1}, None, Ended("failed", "killed")) == Ended("failed", "killed")
    record = Record.read(tmp_path)
    assert (record.status, record.reason) == ("failed", "killed")
    assert (record.data, record.started) == (RUNNING.data, RUNNING.started)
    assert record.ended


EARLIER = Record("run", "failed", {"seed": 1}, reason="earlier", data={"train": 3})


@pytest.mark.parametrize("earlier", [None, EARLIER], ids=["no record", "an earlier attempt's"])
def test_a_run_that_never_began_is_recorded_without_what_was_before(tmp_path, earlier):
    if earlier is not None:
        earlier.write(tmp_path)
    complete(tmp_path, {"seed": 2}, earlier, Ended("failed", "killed"))
    record = Record.read(tmp_path)
    assert (record.status, record.reason, record.config, record.data) == ("failed", "killed", {"seed": 2}, {})


def test_a_result_outlives_the_process_that_wrote_it_and_a_later_one_that_never_began(tmp_path):
    finished = Record("run", "finished", {"seed": 1})
    finished.write(tmp_path)
    assert complete(tmp_path, {}, None, Ended("failed", "killed at exit")).status == "finished"
    assert complete(tmp_path, {}, finished, Ended("failed", "killed")) == Ended("failed", "killed")
    assert Record.read(tmp_path) == finished


def test_what_a_run_says_of_its_own_end_counts(tmp_path):
    diverged = Record("run", "diverged", {"seed": 1}, reason="NaN")
    diverged.write(tmp_path)
    assert complete(tmp_path, {}, None, Ended("failed", "killed at exit")) == Ended("diverged", "NaN")
