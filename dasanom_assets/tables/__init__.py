"""Parquet tables and object storage: read a day, replace a day."""
