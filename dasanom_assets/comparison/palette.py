"""Colours and labels that interactive figures and still pictures share.

Who flagged what is told by the Okabe–Ito palette and by the marker's shape, levels by a perceptually uniform map,
so that neither depends on seeing red and green apart.
"""

LABEL = {"both": "both", "only_us": "only us", "only_contractor": "only contractor", "neither": "neither"}
COLOUR = {"both": "#009E73", "only_us": "#0072B2", "only_contractor": "#E69F00", "neither": "#999999"}
"""Okabe and Ito (2008), https://jfly.uni-koeln.de/color/."""
WHO = ("neither", "both", "only_us", "only_contractor")
"""What the codes 0 to 3 of a window stand for; see `agreement.who_flagged`."""
DRAWN = ("neither", "only_contractor", "only_us", "both")
"""What is rarer and matters more lies on top."""
LEVELS = "viridis"
BLANK = "white"
"""Behind waterfalls: cells without data, or that a side did not flag."""
INK = "#24303d"
QUIET = "#aeb6c1"
"""Bars of windows that are no anomalies."""
SCORE = "score (standard deviations above usual)"
