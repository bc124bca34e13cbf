# Find the largest batch that memory holds: python scripts/find_batch.py [the words of train.py]
import sys

from _command import call

if __name__ == "__main__":
    sys.exit(call("find_batch"))
