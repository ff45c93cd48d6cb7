"""What benchmarks judge: the scored line of the detectors' tests; and networks that learn in seconds."""

from dasanom_tests.detection.conftest import ground
from dasanom_tests.evaluation.conftest import quick

__all__ = ["ground", "quick"]
