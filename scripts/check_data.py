# Look through a data set: python scripts/check_data.py [the words of train.py]
import sys

from thawlab.entry import check_data

if __name__ == "__main__":
    sys.exit(check_data())
