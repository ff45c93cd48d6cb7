"""Recordings of lines that do not exist: their ground, their events, and what is true of them.

Signals are float32 in counts of the recorded integers, shape (channels, samples). Magnitudes and spectra are
plausible, not measured: they give a direction, not a result to publish.
"""
