# Find the largest batch that memory holds: python scripts/find_batch.py [the words of train.py]
import sys

from thawlab.entry import find_batch

if __name__ == "__main__":
    sys.exit(find_batch())
