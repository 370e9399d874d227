"""What scikit-learn's users call: parameters, checks of input, and the methods of every estimator."""
