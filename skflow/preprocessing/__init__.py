"""What columns are like: copies, ties, scales, and margins far from normal."""
