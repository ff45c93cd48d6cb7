"""Detectors: each gives every window a score, and learns from reference windows."""
