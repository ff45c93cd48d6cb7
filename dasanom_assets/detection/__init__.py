"""Embeddings, clustering, thresholds, scores and events."""
