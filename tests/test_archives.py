import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from photos import named_pngs, packed

from thawlab.data.archives import ENDINGS, ArchiveStore, store_of
from thawlab.errors import UserError


@pytest.mark.parametrize("ending", ENDINGS)
def test_threads_and_other_processes_read_the_same_bytes(ending, tmp_path):
    files = named_pngs(20)
    store = store_of(packed(tmp_path / f"a{ending.upper()}", files))
    names = [*files] * 5
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(store.read, names)) == [files[name] for name in names]
    if ending in (".zip", ".tar.gz"):
        for way in ("fork", "spawn"):
            with ProcessPoolExecutor(2, multiprocessing.get_context(way)) as pool:
                assert list(pool.map(pickle.loads(pickle.dumps(store)).read, names)) == [files[name] for name in names]


def test_a_store_is_another_once_the_file_is_written_over(tmp_path):
    path = packed(tmp_path / "a.zip", named_pngs(1))
    store = store_of(path)
    assert store == store_of(path)
    assert hash(store) == hash(store_of(path))
    packed(path, named_pngs(2))
    os.utime(path, ns=(1, 1))
    assert store != store_of(path)
    late = ArchiveStore(path, 1, 1)
    with pytest.raises(OSError, match="has changed since"):
        late.read("cats/00.png")


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_what_is_not_there_is_an_error_of_that_file(ending, tmp_path):
    store = store_of(packed(tmp_path / f"a{ending}", named_pngs(1)))
    with pytest.raises(OSError, match="not in the archive"):
        store.read("cats/99.png")


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tgz"])
def test_refuses_a_file_that_is_none_or_holds_unsafe_names(ending, tmp_path):
    (tmp_path / f"a{ending}").write_bytes(b"hello" * 500)
    with pytest.raises(UserError, match=rf"a\{ending} is (no whole|damaged)"):
        store_of(tmp_path / f"a{ending}")
    with pytest.raises(UserError, match=r"'\.\./1.png', a name that leads out"):
        store_of(packed(tmp_path / f"b{ending}", {"../1.png": b""}))
    with pytest.raises(UserError, match="cannot be opened: No such file"):
        store_of(tmp_path / f"c{ending}")
