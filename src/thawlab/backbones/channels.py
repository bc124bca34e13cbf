"""Images of another number of channels than the source's: its first weights, means and deviations adapted to them."""

from collections.abc import Mapping, Sequence

import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from thawlab.errors import UserError

RGB = 3


def first_layers(model: nn.Module) -> tuple[str, ...]:
    """Names of the layers that read the image: as timm's config tells, else the first convolution."""
    told = (getattr(model, "pretrained_cfg", None) or {}).get("first_conv")
    if told:
        return (told,) if isinstance(told, str) else tuple(told)
    return tuple(name for name, module in model.named_modules() if isinstance(module, nn.Conv2d))[:1]


def adapted_input(
    state: Mapping[str, Tensor], model: nn.Module, before: int, channels: int
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Fit a source's first weights, which read `before` channels, to a model that reads `channels`.

    timm's rule (`adapt_input_conv`): for one channel they are summed; for more they are repeated in turn and scaled by
    before / channels. A stem that takes several places in as channels has a group of weights for each. Also gives the
    names of what was adapted. Raises UserError for a first layer that is no convolution.
    """
    found, names = dict(state), []
    for layer in first_layers(model) if before != channels else ():
        name = f"{layer}.weight"
        if name not in state or state[name].shape == model.get_parameter(name).shape:
            continue
        weight = state[name]
        if weight.ndim != 4:
            raise UserError(
                f"dataset.channels is {channels}, but the source's weights are for {before} and the first layer of "
                f"{type(model).__name__} ({layer}) is no convolution, so they cannot be adapted. "
                f"Give dataset.channels={before}, or take another backbone."
            )
        out, read, *sides = weight.shape
        grouped = weight.reshape(out * (read // before), before, *sides) if read % before == 0 else weight
        found[name] = adapt_input_conv(channels, grouped, base_chans=before).reshape(out, -1, *sides)
        names.append(name)
    return found, tuple(names)


def with_channels(model: nn.Module, channels: int) -> nn.Module:
    """A network that reads `channels` channels: a first convolution that reads RGB is replaced, its weights adapted.

    One that reads another number is the user's choice, and stays.
    """
    layers = first_layers(model)
    old = model.get_submodule(layers[0]) if layers else None
    if not isinstance(old, nn.Conv2d) or (old.in_channels, old.groups) != (RGB, 1) or channels == RGB:
        return model
    new = nn.Conv2d(
        channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation,  # pyright: ignore[reportArgumentType]
        bias=old.bias is not None, padding_mode=old.padding_mode, device=old.weight.device, dtype=old.weight.dtype,
    )  # fmt: skip
    with torch.no_grad():
        new.weight.copy_(adapt_input_conv(channels, old.weight.detach()))
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, attribute = layers[0].rpartition(".")
    setattr(model.get_submodule(parent), attribute, new)
    return model


def spread(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Means or deviations for another number of channels: one gets their mean, more get them in turn.

    >>> spread((0.4, 0.5, 0.6), 4)
    (0.4, 0.5, 0.6, 0.4)
    """
    if channels == 1 and len(values) > 1:
        return (sum(values) / len(values),)
    return tuple(values[i % len(values)] for i in range(channels))
