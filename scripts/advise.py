# Which strategy suits these images: python scripts/advise.py dataset.root=photos backbone=resnet18
import sys

from _command import call

if __name__ == "__main__":
    sys.exit(call("advise"))
