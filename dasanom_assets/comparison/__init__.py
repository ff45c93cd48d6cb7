"""The contractor's classifier laid beside our own findings: tables, figures, reports."""
