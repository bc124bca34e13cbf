"""One small network of each of timm's families in two parts, at a quarter, half and three quarters and at its head."""

from contextlib import nullcontext

import pytest
import torch
from test_families import FAMILIES, STRATEGIES

from thawlab.backbones.build import build
from thawlab.backbones.heads import HeadSpec
from thawlab.backbones.spec import BackboneSpec
from thawlab.caching.checking import check
from thawlab.caching.folding import folding
from thawlab.freezing import set_modes, set_trainable
from thawlab.splitting import CannotSplit, cut

pytestmark = pytest.mark.slow
DEPTHS = (0.25, 0.5, 0.75, 1.0)
# Family -> depth -> why it runs uncut there.
UNCUT = {
    # Position encodings that the blocks share are computed between modules, of tensors that pass no module later.
    "coat": {0.5: "depends on more than passes"},
}


def outcome(network, stages, kept, size):
    """Why the network does not run in two parts after so many stages; None where it does, exactly."""
    moving = {stage.name for stage in stages[kept:]}
    network.train()
    set_modes(network, stages, moving, "source")
    set_trainable(network, stages, moving)
    shape = (3, size, size)
    trained = {name for stage in stages[kept:] for name in stage.parameters}
    try:
        found = cut(network, stages, moving, shape)
        check(network, found, folding(network, found, shape), torch.rand(3, *shape), trained, nullcontext)
    except CannotSplit as error:
        return str(error)
    return None


@pytest.mark.parametrize("family", FAMILIES)
def test_both_parts_give_what_the_whole_gives(family):
    name, size = FAMILIES[family]
    built = build(BackboneSpec(name, size=size), HeadSpec(), STRATEGIES["full"], 5, lr=1e-3, seed=0)
    network, stages = built.network, built.stages
    for depth in DEPTHS:
        kept = max(1, round(depth * (len(stages) - 1)))
        reason, known = outcome(network, stages, kept, size), UNCUT.get(family, {}).get(depth)
        assert (reason is None) == (known is None), f"{family} at {depth}: {reason}"
        assert known is None or known in reason
