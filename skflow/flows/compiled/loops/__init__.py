"""What numba compiles: vectors and what is made of them, and the loops over them that are called from outside."""
