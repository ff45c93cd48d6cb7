"""From scores to numbers that can be checked: p-values of windows, rates of events."""
