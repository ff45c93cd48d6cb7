"""How detectors do on sets that others have labelled, and on scored days, side by side."""
