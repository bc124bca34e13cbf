"""What a data set hides from whoever trains on it: copies, leaks, odd files, unlike counts, doubtful labels."""
