"""Unsupervised anomaly detection on distributed acoustic sensing recordings."""

import os

# Before anything loads OpenMP: threads that wait for each other sleep. Spinning ones hold a core that somebody
# else needs, and made training twenty times slower beside one busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
