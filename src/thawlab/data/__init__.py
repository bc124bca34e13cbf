"""The target images: sources → splits → transforms → batches."""
