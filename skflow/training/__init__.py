"""From a table to a trained flow."""
