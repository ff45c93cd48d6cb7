"""The line of the detectors' tests, for the benchmarks that judge a scored one."""

from dasanom_tests.detection.conftest import ground

__all__ = ["ground"]
