# Look through a data set: python scripts/check_data.py [the words of train.py]
import sys

from _command import call

if __name__ == "__main__":
    sys.exit(call("check_data"))
