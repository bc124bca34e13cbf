# Predict the images of a folder: python scripts/predict.py outputs/<sweep> <folder>
import sys

from thawlab.predict import main

if __name__ == "__main__":
    sys.exit(main())
