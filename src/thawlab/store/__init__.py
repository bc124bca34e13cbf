"""Rows of tensors on disk, one for each image, found again by the image's content."""
