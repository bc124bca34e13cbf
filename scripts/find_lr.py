# Find a learning rate for a run: python scripts/find_lr.py [the words of train.py]
import sys

from thawlab.entry import find_lr

if __name__ == "__main__":
    sys.exit(find_lr())
