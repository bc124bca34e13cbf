# Look through a data set: python scripts/check_data.py [the words of train.py]
import sys

from thawlab.check_data import main

if __name__ == "__main__":
    sys.exit(main())
