"""What the source network cost to train: as the user says, a run's record tells, or the package does of its own."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from thawlab.record import RESULT, Record
from thawlab.study.spec import SourceCost

DEMO, DEMO_COST = "thawlab_demo", "demo.json"
_KEYS = ("seconds", "flops", "images")


def source_cost(backbone: Mapping[str, Any], given: SourceCost) -> dict[str, Any]:
    """`name`, `seconds`, `flops`, `images` (None: nobody tells) and `told_by`, of the network a study starts from.

    UserError for a run's folder whose record has a defect.
    """
    told, by = _told(backbone)
    said = {key: value for key in _KEYS if (value := getattr(given, key)) is not None}
    sources = [*(["study.source"] if said else []), *([by] if set(told) - set(said) else [])]
    found = {key: said.get(key, told.get(key)) for key in _KEYS}
    return {"name": backbone["name"], **found, "told_by": " and ".join(sources) or "nobody"}


def _told(backbone: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    weights = backbone["weights"]
    if weights is None:
        return (_demo(), f"thawlab's {DEMO_COST}") if backbone["name"] == DEMO else ({}, "")
    folder = Path(weights).expanduser()
    if not (folder / RESULT).is_file():
        return {}, ""
    costs = Record.read(folder).costs
    found = {
        "seconds": costs.get("seconds", {}).get("total"),
        "flops": costs.get("flops", {}).get("train"),
        "images": costs.get("images"),
    }
    return {key: value for key, value in found.items() if value is not None}, f"the record of {weights}"


def _demo() -> dict[str, float]:
    content = json.loads(files("thawlab").joinpath("weights", DEMO_COST).read_text(encoding="utf-8"))
    return {key: value for key in _KEYS if (value := content[key]) is not None}
