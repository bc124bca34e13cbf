"""What every run imports, for the process that runs are forked from. It starts no thread: none would survive a fork."""

import atexit
import gc

import torch.utils.tensorboard  # noqa: F401

import thawlab.job
import thawlab.run  # noqa: F401

atexit.register(gc.unfreeze)  # or libraries report what they hold at this process's end as leaked
gc.freeze()  # what is imported is never garbage: no job need look through it, which would copy its pages
