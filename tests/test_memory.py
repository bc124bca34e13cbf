import pytest

from thawlab import memory

GIB = 2**30


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A pretended /proc and /sys/fs/cgroup of a machine with 8 GiB left."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_MOUNTED", tmp_path / "mounted")
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {8 * GIB // 1024} kB\n")
    return tmp_path


def group(folder, limit, used, reclaimable, version=2):
    names = {2: ("memory.max", "memory.current", "inactive_file"),
             1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")}[version]  # fmt: skip
    folder.mkdir(parents=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {reclaimable}\n")


def test_without_limits_the_machine_decides(machine):
    (machine / "cgroup").write_text("0::/user.slice\n")
    assert memory.available_memory() == 8 * GIB


def test_a_groups_limit_less_its_use_but_for_cached_files(machine):
    (machine / "cgroup").write_text("0::/job/step\n")
    group(machine / "mounted" / "job" / "step", "max", 3 * GIB, 0)
    assert memory.available_memory() == 8 * GIB
    (machine / "mounted" / "job" / "memory.max").write_text(str(4 * GIB))
    (machine / "mounted" / "job" / "memory.current").write_text(str(3 * GIB))
    (machine / "mounted" / "job" / "memory.stat").write_text(f"inactive_file {GIB}\n")
    assert memory.available_memory() == 2 * GIB


def test_the_older_groups(machine):
    (machine / "cgroup").write_text("5:cpu,cpuacct:/a\n4:memory:/job\n0::/\n")
    group(machine / "mounted" / "memory" / "job", 2 * GIB, GIB, GIB // 2, version=1)
    assert memory.available_memory() == 1.5 * GIB


def test_a_group_over_its_limit_leaves_nothing(machine):
    (machine / "cgroup").write_text("0::/\n")
    group(machine / "mounted", GIB, 2 * GIB, 0)
    assert memory.available_memory() == 0


def test_a_system_that_does_not_tell(machine, monkeypatch):
    (machine / "meminfo").unlink()
    monkeypatch.setattr(memory.os, "sysconf_names", {})
    assert memory.available_memory() is None
