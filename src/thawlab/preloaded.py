"""What every run imports, for the process that runs are forked from. It starts no thread: none would survive a fork."""

import atexit
import gc
import signal

import torch.utils.tensorboard  # noqa: F401

import thawlab.job
import thawlab.run  # noqa: F401

atexit.register(gc.unfreeze)  # or libraries report what they hold at this process's end as leaked
# Ctrl-C is for the sweep, which hands it on: one that comes before a job is ready for it waits, and is not lost.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
signal.signal(signal.SIGINT, signal.SIG_DFL)
gc.freeze()  # what is imported is never garbage: no job need look through it, which would copy its pages
