# What the cache holds, whether it is sound, and less of it: python scripts/cache.py [list|verify|prune]
import sys

from thawlab.entry import cache

if __name__ == "__main__":
    sys.exit(cache())
