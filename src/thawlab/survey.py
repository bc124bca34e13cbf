"""What must be known of a sweep's jobs before the first one starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thawlab.advice import Advice
    from thawlab.batch_finder import Found

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Survey:
    """What was found; for the jobs to take over, what `trainer.batch_size=auto` and `strategy=auto` came to."""

    changed: Mapping[str, str]  # folder name of a finished run -> what it was made of that is another now
    gpus: tuple[str, ...]
    found: Mapping[str, "Found"]
    advised: Mapping[str, "Advice"]


def survey(missing: Sequence[Config], finished: Sequence[tuple[Path, Config]]) -> Survey:
    """Check every job that is missing, and every finished run for what it was made of. UserError: one cannot work."""
    from thawlab import advising, batch_finder
    from thawlab.devices import visible_gpus
    from thawlab.prepare import check_all
    from thawlab.run import changed

    others = [(folder, config, reason) for folder, config in finished if (reason := changed(config, folder))]
    todo = [*missing, *(config for _, config, _ in others)]
    if todo:
        check_all(todo)
    found, advised = batch_finder.known(), advising.known()
    on_gpu = any(config["trainer"]["accelerator"] == "gpu" for config in todo)
    return Survey(
        {folder.name: why for folder, _, why in others}, tuple(visible_gpus() if on_gpu else ()), found, advised
    )
