"""What every run imports, for the process that runs are forked from. It starts no thread: none would survive a fork."""

import gc

import torch.utils.tensorboard  # noqa: F401

import thawlab.job
import thawlab.run  # noqa: F401

gc.freeze()  # what is imported is never garbage: no job need look through it, which would copy its pages
