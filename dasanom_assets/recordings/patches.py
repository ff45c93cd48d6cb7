"""A patch of DASCore, turned to time first."""

from typing import Any

from dasanom_assets.recordings.reasons import RefusedError


def time_first(patch: Any) -> Any:
    """Return a patch with time and then distance, or channel where its format knows no distances, as SEG-Y.

    Raises
    ------
    RefusedError
        Where it has other dimensions.
    """
    if set(patch.dims) not in ({"time", "distance"}, {"time", "channel"}):
        raise RefusedError(
            f"its dimensions are {', '.join(patch.dims)}, not time and distance: deliver the recording itself"
        )
    return patch.transpose("time", ...)
