# Find the largest batch that memory holds: python scripts/find_batch.py [the words of train.py]
import sys

from thawlab.find_batch import main

if __name__ == "__main__":
    sys.exit(main())
