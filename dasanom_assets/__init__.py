"""Unsupervised anomaly detection on distributed acoustic sensing recordings."""
