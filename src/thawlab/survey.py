"""What must be known of a sweep's jobs before the first one starts."""

from collections.abc import Callable, Mapping, Sequence
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


def survey(
    missing: Sequence[tuple[str, Config]],
    finished: Sequence[tuple[Path, Config]],
    begins: Callable[[str], None] = lambda name: None,
) -> Survey:
    """Check every job that is missing, and every finished run for what it was made of. UserError: one cannot work.

    `begins` hears the name of each before it is looked at: a user's code may end this process, or hang.
    """
    from thawlab import advising, batch_finder
    from thawlab.devices import visible_gpus
    from thawlab.prepare import check_all
    from thawlab.run import changed

    todo, others = list(missing), {}
    for folder, config in finished:
        begins(folder.name)
        if reason := changed(config, folder):
            others[folder.name] = reason
            todo.append((folder.name, config))
    if todo:
        check_all([config for _, config in todo], lambda place: begins(todo[place][0]))
    on_gpu = any(config["trainer"]["accelerator"] == "gpu" for _, config in todo)
    gpus = tuple(visible_gpus() if on_gpu else ())
    return Survey(others, gpus, batch_finder.known(), advising.known())
