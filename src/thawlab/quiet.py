"""What libraries say of themselves, left out."""

import logging
import warnings

_HARMLESS = (
    ".*does not have many workers.*",
    "Checkpoint directory .* exists and is not empty.*",  # the run's folder, which holds its record from the start
    "Found .* module.s. in eval mode at the start of training.*",  # so are frozen stages
    ".*treespec, LeafSpec.* is deprecated.*",  # Lightning's own use of torch
)


def quieten() -> None:
    """Leave out what Lightning says of itself; what it warns of goes to the log, but for what is meant to be so."""
    logging.captureWarnings(True)
    for name in ("pytorch_lightning", "lightning_fabric", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for harmless in _HARMLESS:
        warnings.filterwarnings("ignore", message=harmless)
