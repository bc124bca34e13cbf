# Find a learning rate for a run: python scripts/find_lr.py [the words of train.py]
import sys

from _command import call

if __name__ == "__main__":
    sys.exit(call("find_lr"))
