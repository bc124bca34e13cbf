"""What every run imports, for the process that runs are forked from. It starts no thread: none would survive a fork."""

import torch.utils.tensorboard  # noqa: F401

import thawlab.job
import thawlab.run  # noqa: F401
