"""How near a source network and target images are, measured from both alone."""
