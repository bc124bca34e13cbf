"""What of a network's first part makes its rows other ones, and what is refused when they are tried or kept."""

import hashlib
import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from thawlab.caching.checking import CLOSE, check
from thawlab.caching.code import code_of, code_of_function
from thawlab.caching.folding import folding
from thawlab.caching.pictures import Pictures
from thawlab.caching.reading import Work, _tried, frozen_part, read
from thawlab.errors import UserError
from thawlab.splitting import CannotSplit, cut
from thawlab.stages import Stage
from thawlab.store.rowstore import RowStore

IMAGES = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def pictures(images=IMAGES):
    digests = [hashlib.sha256(bytes([i])).digest() for i in range(len(images))]
    return Pictures(digests, lambda keys: torch.stack([images[i] for _, i in keys]))


def work_of(network, **options):
    stages = [
        Stage(name, tuple(f"{name}.{own}" for own, _ in child.named_parameters()), (name,), 1)
        for name, child in network.named_children()
    ]
    given = {"precision": nullcontext, "told": {}, **options}
    return Work(network.eval(), stages, (3, 8, 8), torch.device("cpu"), memory_format=torch.contiguous_format,
                batch_size=4, **given)  # fmt: skip


def net(first, seed=0, classes=5):
    """`first` is frozen, what follows trains."""
    torch.manual_seed(0)
    network = nn.Sequential()
    network.add_module("stem", first())
    network.add_module("mid", nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()))
    torch.manual_seed(seed)
    network.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)))
    return network


def part(network, dtype=torch.float32, moving=("head",), shown=None, **options):
    return frozen_part(work_of(network, **options), set(moving), shown or pictures(), dtype, trains=True)


def key(network, **options):
    return part(network, **options).key.digest


class Shifted(nn.Module):
    """What is added to a convolution lies in a module, in a buffer or in an attribute."""

    def __init__(self, value, kept):
        super().__init__()
        self.conv, self.kept = nn.Conv2d(3, 4, 3), kept
        table = torch.full((4, 1, 1), value)
        if kept == "table":
            self.table = Table(table)
        elif kept == "attribute":
            self.shift = value
        elif kept == "tensor":
            self.shift = table
        elif kept == "listed":
            self.shift = [{"by": (table, "x")}]
        else:
            self.register_buffer("shift", table, persistent=kept == "persistent")

    def forward(self, x):
        if self.kept == "listed":
            return self.conv(x) + self.shift[0]["by"][0]
        return self.conv(x) + (self.table() if self.kept == "table" else self.shift)


class Table(nn.Module):
    """Gives its buffer, whatever the image."""

    def __init__(self, table):
        super().__init__()
        self.register_buffer("table", table)

    def forward(self):
        return self.table


@pytest.mark.parametrize("kept", ["table", "persistent", "not persistent", "attribute", "tensor", "listed"])
def test_what_a_forward_pass_reads_without_a_parameter_misses(kept):
    one, same, other = (key(net(lambda v=v: Shifted(v, kept))) for v in (1.0, 1.0, 1.02))
    assert one == same != other


def test_a_parametrization_misses():
    def normed(first):
        conv = nn.Conv2d(3, 4, 3)
        nn.utils.parametrizations.spectral_norm(conv).eval()
        conv.parametrizations.weight[0]._u.copy_(first)
        return conv

    one, same, other = (key(net(lambda v=v: normed(v))) for v in (torch.eye(4)[0], torch.eye(4)[0], torch.eye(4)[1]))
    assert one == same != other


class Attends(nn.Module):
    """A layer of torch's, whose number of heads no `extra_repr` tells."""

    def __init__(self, heads):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, 2)
        self.layer = nn.TransformerEncoderLayer(8, heads, 8, dropout=0.0, batch_first=True)
        self.out = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.patches(x)
        return self.out(self.layer(x.flatten(2).mT).mT.unflatten(2, x.shape[2:]))


def test_a_number_of_heads_misses():
    one, same, other = (key(net(lambda h=h: Attends(h))) for h in (2, 2, 4))
    assert one == same != other


def test_another_seed_head_and_trained_stage_hit():
    one = net(lambda: Shifted(1.0, "table"))
    other = net(lambda: Shifted(1.0, "table"), seed=3, classes=7)
    assert key(one) == key(other)
    with torch.no_grad():
        other.mid[0].weight.mul_(2)
    assert key(one) != key(other)
    assert key(one, moving=("mid", "head")) == key(other, moving=("mid", "head"))


def test_a_parametrization_of_the_head_does_not_matter():
    def normed(seed):
        network = net(lambda: Shifted(1.0, "table"), seed)
        nn.utils.parametrizations.spectral_norm(network.head[2])
        return network

    assert key(normed(0)) == key(normed(1))


class Remembers(Shifted):
    """Keeps what it saw, how often it ran, and a table from its first run on."""

    calls, last, grid = 0, None, None

    def forward(self, x):
        self.calls, self.last = self.calls + 1, x
        self.grid = torch.ones(1) if self.grid is None else self.grid
        return super().forward(x) * self.grid


def test_what_changes_by_running_hits():
    network = net(lambda: Remembers(1.0, "table"))
    before = key(network)
    network(torch.rand(3, 3, 8, 8))
    assert key(network) == before


class CountsInABuffer(Shifted):
    def forward(self, x):
        self.shift += 1
        return self.conv(x)


def test_a_buffer_that_changes_by_running_is_refused():
    with pytest.raises(CannotSplit, match=r"stem\.shift changes"):
        part(net(lambda: CountsInABuffer(1.0, "persistent")))


OWN = (
    "from torch import nn\nfrom {name}_base import Base\nclass Body(Base):\n    pass\ndef build():\n    return Body()\n"
)
BASE = """
from torch import nn
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        from {name}_numbers import FACTOR
        return FACTOR * self.conv(x)
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Imports a user's three files; an edited one anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = "of_a_user"

    def imported(base=BASE, factor=2):
        for module in [module for module in sys.modules if module.startswith(name)]:
            del sys.modules[module]
        (tmp_path / f"{name}_net.py").write_text(OWN.format(name=name))
        (tmp_path / f"{name}_base.py").write_text(base.format(name=name))
        (tmp_path / f"{name}_numbers.py").write_text(f"FACTOR = {factor}\n")
        body = __import__(f"{name}_net").Body
        body()(torch.zeros(1, 3, 8, 8))
        return body

    yield imported
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]


def test_the_code_behind_a_users_network_misses(written, tmp_path):
    made = [{}, {}, {"base": BASE.replace("return FACTOR", "return 1.02 * FACTOR")}, {"factor": 3}]
    one, same, base, factor = (key(net(written(**change))) for change in made)
    assert one == same
    assert len({one, base, factor}) == 3


def test_the_code_behind_a_users_function_is_told(written, tmp_path):
    for reference in (f"{tmp_path / 'of_a_user_net.py'}:build", "of_a_user_net:build"):
        written()
        one = code_of_function(reference)
        written()
        assert code_of_function(reference) == one
        written(factor=3)
        assert code_of_function(reference) != one


def test_the_code_of_libraries_is_told_by_their_versions():
    assert code_of(nn.Sequential(nn.ReLU(), nn.Linear(2, 2)).modules()) == code_of([]) == code_of_function(None)


class Scaled(nn.Module):
    """Its scale lies where no key looks."""

    by = 1.0

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return type(self).by * self.conv(x)


def opened(network, store, **options):
    work = work_of(network, **options)
    shown = pictures()
    return read(work, "train", shown, frozen_part(work, {"head"}, shown, torch.float32, False), store)


def test_rows_a_percent_away_are_noticed(tmp_path, monkeypatch, capsys):
    store, network = RowStore(tmp_path, 10**9), net(Scaled)
    assert opened(network, store).rows.built == 8
    monkeypatch.setattr(Scaled, "by", 1.01)
    assert opened(network, store).rows.built == 8
    assert "dropped" in capsys.readouterr().err
    assert opened(network, store).rows.built == 0


def test_rows_in_another_dtype_come_as_close_as_it_rounds(tmp_path):
    store, network, shown = RowStore(tmp_path, 10**9), net(Scaled), pictures()
    for dtype in (torch.bfloat16, torch.float16):
        work = work_of(network)
        reading = read(work, "train", shown, frozen_part(work, {"head"}, shown, dtype, False), store)
        assert reading.agrees()
        assert reading.rows.built == 8
    assert CLOSE["fp32"] < torch.finfo(torch.float16).eps / 2  # so that the rounding had to be allowed for


def test_the_pictures_that_are_tried_are_spread():
    assert _tried(pictures()) == [0, 2, 4, 7]
    assert _tried(pictures(IMAGES[:2])) == [0, 0, 0, 1]
    assert _tried(pictures(IMAGES[:1])) == [0, 0, 0, 0]


def test_one_damaged_row_at_the_end_is_noticed(tmp_path, capsys):
    store, network = RowStore(tmp_path, 10**9), net(Scaled)
    other = IMAGES.clone()
    other[-1] *= 2  # another picture where the store knows this one's name
    work = work_of(network)
    read(work, "train", pictures(other), part(network, shown=pictures(other)), store)
    assert opened(network, store).rows.built == 8
    assert "dropped" in capsys.readouterr().err


def test_a_network_that_gives_something_else_each_time_is_refused(tmp_path, capsys):
    class Unsteady(Scaled):
        def forward(self, x):
            return super().forward(x) * (2.0 if len(x) == 4 and Unsteady.building else 1.0)

    work, shown = work_of(net(Unsteady)), pictures()
    Unsteady.building = False
    frozen = frozen_part(work, {"head"}, shown, torch.float32, False)
    Unsteady.building = True
    store = RowStore(tmp_path, 10**9)
    with pytest.raises(CannotSplit, match="not the same when it is computed again"):
        read(work, "train", shown, frozen, store)
    assert store.has(frozen.key, shown.items) == 0


def test_numbers_too_large_for_the_dtype_are_not_kept(tmp_path):
    network, store, shown = net(Scaled), RowStore(tmp_path, 10**9), pictures()
    with torch.no_grad():
        network.mid[0].weight.mul_(1e8)
    work = work_of(network)
    frozen = frozen_part(work, {"head"}, shown, torch.float16, False)
    with pytest.raises(CannotSplit, match=r"cache\.dtype is float16.*cache\.dtype=bfloat16 or float32"):
        read(work, "train", shown, frozen, store)
    assert store.has(frozen.key, shown.items) == 0
    assert read(work, "train", shown, frozen_part(work, {"head"}, shown, torch.bfloat16, False), store).rows.built == 8


class Recomputes(nn.Module):
    """Calls torch's checkpoint over its first two blocks."""

    def __init__(self, error=None):
        super().__init__()
        self.stem, self.mid, self.head, self.error = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 5), error

    def body(self, x):
        return self.mid(self.stem(x).relu()).relu()

    def forward(self, x):
        if self.error is not None and not x.is_meta:
            raise self.error
        x = checkpoint(self.body, x, use_reentrant=False) if torch.is_grad_enabled() else self.body(x)
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("error", "words"),
    [(None, "CheckpointError"), (torch.OutOfMemoryError("no room"), "no room"), (KeyError("own"), "own")],
)
def test_whatever_a_network_raises_when_it_is_tried_means_whole(error, words):
    work = work_of(Recomputes(error))
    moving = {"mid", "head"} if error is None else {"head"}
    found = cut(work.network, work.stages, moving, work.shape)
    trained = {name for name, _ in work.network.named_parameters() if not name.startswith("stem")}
    with pytest.raises(CannotSplit, match=words):
        check(work.network, found, folding(work.network, found, work.shape), IMAGES[:4], trained, nullcontext)


def test_images_that_cannot_be_loaded_end_the_run():
    def load(keys):
        raise UserError("no such file")

    with pytest.raises(UserError):
        part(net(Scaled), shown=Pictures(pictures().digests, load))
