"""One batch through a cut network and through the whole one, before the cut is relied on."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thawlab.caching.folding import Folding
from thawlab.dataflow import sharing
from thawlab.errors import in_words
from thawlab.splitting import CannotSplit, Cut, Suffix, prefix

# Differences allowed, as shares of the largest value: the kernels are the same, but may sum in another order where
# there are fewer images.
Precision = Callable[[], AbstractContextManager[Any]]  # the run's autocast
CLOSE = {"fp32": 1e-4, "mixed": 3e-2}


@dataclass(frozen=True)
class Checked:
    """What a cut gave on a few images: their rows (n, ...), and how far others may lie from them.

    `ran` is a copy of the network after the first part ran in it on these images, `again` a copy of that one after it
    ran on one of them: what differs between the two changes by running. Parameters are the network's own.
    """

    rows: tuple[Tensor, ...]
    close: float
    ran: nn.Module
    again: nn.Module


def check(
    network: nn.Module,
    cut: Cut,
    folding: Folding,
    images: Tensor,
    trained: Collection[str],
    precision: Precision,
) -> Checked:
    """Hold the two parts to the whole on a few images.

    Each image's row is the same by itself as among others; the second part gives what the network gives, and to the
    parameters named in `trained` the same gradients. The network, its buffers and the random state stay as they are.
    Raises CannotSplit, whatever the network raises.
    """
    with refusing("trying it in two parts"):
        with precision():
            close = CLOSE["mixed" if torch.is_autocast_enabled(images.device.type) else "fp32"]
            ran = sharing(network, buffers=False)
            rows = folding.rows(prefix(ran, cut, images))
            again = sharing(ran, buffers=False)
            alone = folding.rows(prefix(again, cut, images[-1:]))
        for many, one in zip(rows, alone, strict=True):
            _hold(many[-1:], one, close, "what passes the boundary depends on the other images of the batch")
        _hold_parts(network, cut, folding.tensors(rows), images, trained, precision, close)
    return Checked(rows, close, ran, again)


@contextmanager
def refusing(attempt: str) -> Iterator[None]:
    """Raises CannotSplit for any error: a network that fails in an attempt, or finds no memory, may well run whole."""
    try:
        yield
    except CannotSplit:
        raise
    except Exception as error:  # networks raise many kinds
        raise CannotSplit(f"{attempt} ended with {in_words(error)}") from error


def _hold_parts(
    network: nn.Module,
    cut: Cut,
    tensors: Sequence[Tensor],
    images: Tensor,
    trained: Collection[str],
    precision: Precision,
    close: float,
) -> None:
    shape = (images.shape[1], images.shape[2], images.shape[3])
    given = [tensor.clone() for tensor in tensors]  # a network may work in place
    whole, wanted = _run(network, trained, precision, lambda beside: beside(images))
    parts, found = _run(
        network, trained, precision, lambda beside: Suffix(beside, cut, shape, images.device)(given, len(images))
    )
    _hold(parts, whole, close, "the second part gives other logits than the whole network")
    for mine, own in zip(found, wanted, strict=True):
        if (mine is None) != (own is None):
            raise CannotSplit("the second part gives gradients to other parameters than the whole network")
        if mine is not None and own is not None:
            _hold(mine, own, close, "the second part gives other gradients than the whole network")


def _run(
    network: nn.Module, trained: Collection[str], precision: Precision, forward: Callable[[nn.Module], Any]
) -> tuple[Tensor, Sequence[Tensor | None]]:
    """Logits, and gradients of the trained parameters of a weighted sum of them."""
    beside = sharing(network, buffers=False)
    parameters = [parameter for name, parameter in beside.named_parameters() if name in trained]
    cuda = [parameter.device for parameter in parameters[:1] if parameter.device.type == "cuda"]
    with torch.random.fork_rng(devices=cuda), torch.enable_grad(), precision():
        torch.manual_seed(0)
        output = forward(beside)
        logits = (output[0] if isinstance(output, tuple | list) else output).float()
        if not parameters:
            return logits, []
        weights = torch.linspace(-1, 1, logits.numel(), device=logits.device).view_as(logits)
        return logits, torch.autograd.grad((weights * logits).sum(), parameters, allow_unused=True)


def close_enough(found: Tensor, wanted: Tensor, close: float) -> bool:
    """Whether two results are one but for differences of `close` times the largest finite value that is wanted.

    Numbers that are not floating-point must be equal, and so must infinities and what is not a number.
    """
    if not found.is_floating_point():
        return torch.equal(found, wanted)
    found, wanted = found.detach().float(), wanted.detach().float()
    finite = wanted.isfinite()
    scale = float(wanted[finite].abs().max()) if bool(finite.any()) else 0.0
    same = torch.isclose(found, wanted, rtol=0.0, atol=close * scale + 1e-9, equal_nan=True)
    return bool(same.all())


def _hold(found: Tensor, wanted: Tensor, close: float, otherwise: str) -> None:
    if not close_enough(found, wanted, close):
        raise CannotSplit(otherwise)
