"""Recordings in: the vendor bundle, DASCore's formats, catalogue, channel health, simulator."""
