"""Bijections from data to latent, with their log-determinants."""
