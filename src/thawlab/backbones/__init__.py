"""Building a network and loading weights into it. Importing this registers the demonstration network with timm."""

from thawlab.backbones import demo as demo
