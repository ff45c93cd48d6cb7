"""Signal to spectrogram tables, their background, and windows on them."""
