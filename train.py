"""Compose a config and run it: `python train.py --help`."""

import sys

from thawlab.entry import train

if __name__ == "__main__":
    sys.exit(train())
