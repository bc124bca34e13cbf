# What the cache holds, whether it is sound, and less of it: python scripts/cache.py [list|verify|prune]
import sys

from _command import call

if __name__ == "__main__":
    sys.exit(call("cache"))
