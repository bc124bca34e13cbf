"""Networks in two parts: each kind of thing that may pass a boundary, and what must be refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thawlab.caching.checking import check
from thawlab.caching.folding import folding, layout_of
from thawlab.freezing import set_modes, set_trainable
from thawlab.splitting import CannotSplit, Suffix, cut, prefix
from thawlab.stages import split_into_stages

SHAPE = (3, 16, 16)
CPU = torch.device("cpu")


class Plain(nn.Module):
    """Three blocks and a classifier; `mangle` happens between the first and the second block."""

    def __init__(self, norm=True):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.three = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.fc = nn.Linear(8, 5)

    def between(self, x):
        return x

    def forward(self, x):
        x = self.between(self.one(x))
        return self.fc(self.three(self.two(x)).mean((2, 3)))


class Skips(Plain):
    """Two tensors pass: a skip connection over the boundary."""

    def forward(self, x):
        first = self.one(x)
        return self.fc(self.three(self.two(first) + 2 * first).mean((2, 3)))


class Tells(Plain):
    """Passes a flag, a number, None and a shape along with the features, in a tuple."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x):
            return self.conv(x), True, 3, None, x.shape[-2:]

    def __init__(self):
        super().__init__()
        self.one = self.Block()

    def forward(self, x):
        x, flag, times, nothing, size = self.one(x)
        assert flag
        assert nothing is None
        for _ in range(times):
            x = F.interpolate(x + 1, size=tuple(size))
        return self.fc(self.three(self.two(x)).mean((2, 3)))


class Loose(Plain):
    """Operations outside any module, on parameters and on the image's shape."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(8, 1, 1))

    def between(self, x):
        places = torch.arange(x.shape[-1], device=x.device, dtype=x.dtype)
        return torch.cat([x + self.shift, x.new_zeros(x.shape)], 1)[:, :8] * places.cos() + x.new_ones(1)


class Windows(Plain):
    """Passes windows of images: four rows for each."""

    def between(self, x):
        n, c, h, w = x.shape
        return x.reshape(n, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).reshape(4 * n, c, h // 2, w // 2)

    def forward(self, x):
        x = self.three(self.two(nn.functional.relu(self.between(self.one(x)))))
        return self.fc(x.mean((2, 3)).unflatten(0, (-1, 4)).mean(1))


class Sequence(Plain):
    """The images are the second axis."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(3, 8)

        def forward(self, x):
            return self.lin(x.flatten(2).permute(2, 0, 1))

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = self.Tokens(), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.fc(self.three(self.two(self.one(x)).relu()).mean(0))


class Positions(Plain):
    """The first block gives positions as well, which are made of no image; the last one takes them."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x):
            return self.conv(x), torch.arange(x.shape[-1], device=x.device)

    def __init__(self):
        super().__init__()
        self.one = self.Block()

    def forward(self, x):
        x, positions = self.one(x)
        return self.fc((self.three(self.two(x)) * positions).mean((2, 3)))


class Shared(Plain):
    """The first block's norm is used again behind the boundary."""

    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(2, 8)

    def forward(self, x):
        x = self.norm(self.one(x))
        return self.fc(self.norm(self.three(self.two(x))).mean((2, 3)))


def split(model, kept, mode="source", train=True):
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
    stages = split_into_stages(model, parts={"a": ["one"], "b": ["two"], "c": ["three"]} if kept else None,
                               size=16, channels=3)  # fmt: skip
    moving = {stage.name for stage in stages[kept:]}
    model.train(train)
    if train:
        set_modes(model, stages, moving, mode)
    set_trainable(model, stages, moving)
    return stages, moving, cut(model, stages, moving, SHAPE)


def halves(model, found, images):
    tensors = [tensor.clone() for tensor in prefix(model, found, images)]
    return tensors, Suffix(model, found, SHAPE, CPU)(tensors, len(images))


@pytest.mark.parametrize("kind", [Plain, Skips, Tells, Windows, Sequence, Positions, Shared])
@pytest.mark.parametrize("kept", [1, 2, 3])
@pytest.mark.parametrize("train", [True, False])
def test_the_two_parts_give_what_the_whole_gives(kind, kept, train):
    model = kind()
    if kind is Shared:
        model.norm.requires_grad_(False)
    parts = {"a": ["one", "norm"], "b": ["two"], "c": ["three"]} if kind is Shared else None
    stages = split_into_stages(model, parts=parts or {"a": ["one"], "b": ["two"], "c": ["three"]}, size=16, channels=3)
    moving = {stage.name for stage in stages[kept:]}
    model.train(train)
    if train:
        set_modes(model, stages, moving, "source")
    set_trainable(model, stages, moving)
    found = cut(model, stages, moving, SHAPE)
    images = torch.rand(5, *SHAPE)
    _, parts = halves(model, found, images)
    assert torch.equal(parts, model(images))


class Twice(Plain):
    """What the first and the second block give both pass to the third."""

    def forward(self, x):
        first = self.one(x)
        second = self.two(first)
        return self.fc((self.three(second) + first * second).mean((2, 3)))


def test_several_tensors_pass():
    model = Twice()
    *_, found = split(model, 2)
    images = torch.rand(2, *SHAPE)
    tensors, parts = halves(model, found, images)
    first = model.one(images)
    assert {len(tensors)} == {2}
    assert torch.equal(tensors[0], first)
    assert torch.equal(parts, model(images))


def test_gradients_are_those_of_the_whole():
    model = Plain()
    _, _, found = split(model, 1)
    images = torch.rand(4, *SHAPE)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert 0 < len(trained) < len(list(model.parameters()))
    whole = torch.autograd.grad(model(images).square().sum(), trained)
    tensors = prefix(model, found, images)
    parts = torch.autograd.grad(Suffix(model, found, SHAPE, CPU)(tensors, 4).square().sum(), trained)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert not any(tensor.requires_grad for tensor in tensors)


def test_it_leaves_the_network_as_it_was():
    model = Plain()
    _, _, found = split(model, 2)
    before = {name: dict(module.__dict__) for name, module in model.named_modules()}
    halves(model, found, torch.rand(2, *SHAPE))
    for name, module in model.named_modules():
        assert "forward" not in module.__dict__
        assert not {**module._forward_hooks, **module._forward_pre_hooks}
        assert module.__dict__.keys() == before[name].keys()


def test_operations_outside_modules_are_done_again_or_passed_by():
    model = Loose()
    stages = split_into_stages(model, size=16, channels=3)
    moving = {stage.name for stage in stages[-2:]}
    model.train()
    set_modes(model, stages, moving, "source")
    found = cut(model, stages, moving, SHAPE)
    images = torch.rand(3, *SHAPE)
    _, parts = halves(model, found, images)
    assert torch.equal(parts, model(images))


class Drops(Plain):
    def between(self, x):
        return F.dropout(x, 0.5, self.training)


def test_the_first_part_ends_before_random_numbers_are_drawn():
    model = Drops()
    _, _, found = split(model, 2)
    images = torch.rand(2, *SHAPE)
    # Two stages are frozen, but dropout between them is drawn anew each time: only the first comes before.
    (passed,) = prefix(model, found, images)
    assert torch.equal(passed, model.one(images))
    torch.manual_seed(3)
    whole = model(images)
    torch.manual_seed(3)
    assert torch.equal(Suffix(model, found, SHAPE, CPU)([passed.clone()], 2), whole)
    _, _, evaluated = split(model, 2, train=False)
    (later,) = prefix(model, evaluated, images)
    assert torch.equal(later, model.two(model.one(images)))


def test_the_first_part_ends_before_a_norm_that_adapts():
    model = Plain()
    *_, found = split(model, 2, mode="adapt")
    images = torch.rand(2, *SHAPE)
    (passed,) = prefix(model, found, images)
    assert torch.equal(passed, model.one[0](images))
    assert torch.equal(Suffix(model, found, SHAPE, CPU)([passed], 2), model(images))


def test_a_network_of_which_nothing_or_all_trains_is_not_split():
    model = Plain()
    stages = split_into_stages(model, size=16, channels=3)
    for moving, words in (({stage.name for stage in stages}, "frozen"), (set(), "nothing of it trains")):
        with pytest.raises(CannotSplit, match=words):
            cut(model.eval(), stages, moving, SHAPE)


class Writes(Plain):
    """Writes what it computed into a tensor that it made without the image."""

    def between(self, x):
        out = torch.zeros(x.shape)
        out[:] = x
        return out * 2


class Asks(Plain):
    def between(self, x):
        return x * 2 if float(x.mean()) > 0 else x


@pytest.mark.parametrize("kind", [Asks, Writes])
def test_what_asks_for_values_does_not_run_in_two_parts(kind):
    def attempt():
        model = kind()
        *_, found = split(model, 2)
        halves(model, found, torch.rand(2, *SHAPE))

    with pytest.raises(CannotSplit):
        attempt()


class Mixes(Plain):
    """What passes for one image depends on the others."""

    def between(self, x):
        return x - x.mean(0, keepdim=True)


class Counts(Plain):
    """Gives something else each time it is called."""

    calls = 0

    def between(self, x):
        type(self).calls += 1
        return x + self.calls


@pytest.mark.parametrize(("kind", "words"), [(Mixes, "other images"), (Counts, "passes the boundary|other logits")])
def test_a_first_part_that_is_no_function_of_the_image_is_noticed(kind, words):
    from contextlib import nullcontext

    model = kind()
    *_, found = split(model, 2)
    with pytest.raises(CannotSplit, match=words):
        check(model, found, folding(model, found, SHAPE), torch.rand(4, *SHAPE), set(), nullcontext)


@pytest.mark.parametrize("kind", [Plain, Windows, Sequence])
def test_rows_have_the_images_first_and_go_back(kind):
    model = kind()
    _, _, found = split(model, 2)
    folds = folding(model, found, SHAPE)
    tensors = prefix(model, found, torch.rand(5, *SHAPE))
    rows = folds.rows(tensors)
    assert all(len(row) == 5 for row in rows)
    assert all(torch.equal(a, b) for a, b in zip(folds.tensors(rows), tensors, strict=True))


def test_the_layout_keeps_the_memory_order():
    rows = (torch.rand(2, 8, 4, 4).contiguous(memory_format=torch.channels_last), torch.rand(2, 7))
    first, second = layout_of(rows, torch.bfloat16)
    assert (first.shape, first.dtype, first.order) == ((8, 4, 4), "bfloat16", (1, 2, 0))
    assert (second.shape, second.order) == ((7,), None)
    (kept,) = layout_of((torch.zeros(2, 3, dtype=torch.bfloat16),), torch.float32)
    assert kept.dtype == "bfloat16"
