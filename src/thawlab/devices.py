"""How many runs go on at a time, and on which GPUs each."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

AUTO = "auto"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Place:
    """Where a run goes: GPUs as CUDA_VISIBLE_DEVICES names them; none: on the CPU."""

    gpus: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What the run's process must see of them."""
        return {VISIBLE: ",".join(self.gpus)} if self.gpus else {}


class Places:
    """Hands out places to runs.

    `jobs` auto: a GPU to one run at a time, and one run on the CPU. A number: so many runs, each on the GPUs that
    fewest others use.
    """

    def __init__(self, jobs: int | str, gpus: Sequence[str]) -> None:
        self._jobs = jobs
        self._users = Counter(dict.fromkeys(gpus, 0))
        self._runs = self._on_cpu = 0

    @property
    def several(self) -> bool:
        """Whether more than one run may go on at a time."""
        return len(self._users) > 1 if self._jobs == AUTO else int(self._jobs) > 1

    def take(self, trainer: Mapping[str, Any]) -> Place | None:
        """A place for a run with these settings; None: it has to wait."""
        on_gpu = trainer["accelerator"] == "gpu" and bool(self._users)
        gpus = sorted(self._users, key=self._users.__getitem__)[: trainer["devices"]] if on_gpu else []
        if self._is_full(gpus):
            return None
        self._users.update(gpus)
        self._runs += 1
        self._on_cpu += not gpus
        return Place(tuple(gpus))

    def _is_full(self, gpus: Sequence[str]) -> bool:
        if self._jobs != AUTO:
            return self._runs >= int(self._jobs)
        return any(self._users[gpu] for gpu in gpus) if gpus else self._on_cpu > 0

    def give_back(self, place: Place) -> None:
        """A run has ended."""
        self._users.subtract(place.gpus)
        self._runs -= 1
        self._on_cpu -= not place.gpus


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them. Imports torch; opens no GPU."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return named[:count] if named else [str(i) for i in range(count)]
