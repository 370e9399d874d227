"""What is asked of a fitted flow, chunk by chunk: the one door between numpy and torch."""
