"""What libraries say of themselves, left out."""

import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any

_Hook = Callable[[Any], Any]

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
    if not isinstance(threading.excepthook, _Threads):
        threading.excepthook = _Threads(threading.excepthook)


class _Threads:
    """What is said of a thread that ends by an error, but for TensorBoard's writer on a disk that takes nothing.

    It hands its error on to whoever writes or flushes next: its traceback would only bury what is said then.
    """

    def __init__(self, before: _Hook) -> None:
        self.before = before

    def __call__(self, args: Any) -> None:
        of_writer = type(args.thread).__module__.startswith("tensorboard.")
        if not (of_writer and isinstance(args.exc_value, OSError)):
            self.before(args)
