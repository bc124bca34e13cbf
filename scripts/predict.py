# Predict the images of a folder, or one image: python scripts/predict.py outputs/<sweep> <folder or file>
import sys

from _command import call

if __name__ == "__main__":
    sys.exit(call("predict"))
