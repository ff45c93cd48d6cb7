"""The pages: frames of HTML, which their scripts fill from the API."""

import hmac
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dasanom_assets.review.app import COOKIE, page, review_of
from dasanom_assets.review.calendar import month_of
from dasanom_assets.review.day import DayView, day_view


def home(request: Request) -> Response:
    """Go to the list of days."""
    return RedirectResponse("/days", 303)


def days(request: Request) -> Response:
    """Show the calendar of a month."""
    return page(request, "days.html.j2", month=month_of(review_of(request), request.query_params.get("month")))


def day(request: Request) -> Response:
    """Show a day."""
    view = day_view(review_of(request), request.path_params["day"])
    around = _around(request, view.day)
    return page(request, "day.html.j2", day=view.day, head=view.head(), around=around, triage=view.triage)


def alarm(request: Request) -> Response:
    """Show an alarm."""
    view = day_view(review_of(request), request.path_params["day"])
    event = request.path_params["event"]
    row = view.by_event.get(event)
    if row is None:
        raise HTTPException(404, f"the day {view.day} has no alarm {event}: another model may have found others")
    i = row["rank"] - 1  # rows lie in this order
    return page(
        request,
        "alarm.html.j2",
        day=view.day,
        event=event,
        row=row,
        rows=len(view.rows),
        zone=view.settings.temporal.time_zone,
        before=view.rows[i - 1]["id"] if i else None,
        after=view.rows[i + 1]["id"] if i + 1 < len(view.rows) else None,
        to_judge=_to_judge(view, event, row["members"]),
    )


def day_map(request: Request) -> Response:
    """Show the map of a day's windows, scores and clusters."""
    view = day_view(review_of(request), request.path_params["day"])
    return page(request, "map.html.j2", day=view.day)


def planned(request: Request) -> Response:
    """Show planned works."""
    return page(request, "planned.html.j2")


def enter(request: Request) -> Response:
    """Take the token of a link into a cookie, and go on without it."""
    review, token = review_of(request), request.query_params.get("token", "")
    answer = RedirectResponse("/days", 303)
    if review.token is not None and hmac.compare_digest(token.encode(), review.token.encode()):
        answer.set_cookie(COOKIE, token, max_age=30 * 86_400, httponly=True, samesite="strict")
    return answer


def _to_judge(view: DayView, event: str, members: list[str]) -> dict[str, Any] | None:
    """Return where in the queue an alarm, or its row, is, and the next that nobody has judged; None: in none."""
    queue = view.triage["queue"]
    mine = [i for names in ([event], members) for i, place in enumerate(queue) if place["event"] in names]
    if not mine:
        return None
    open_ones = [place["event"] for place in queue[mine[0] + 1 :] + queue[: mine[0]] if place["verdict"] is None]
    return {"number": mine[0] + 1, "of": len(queue), "next": next(iter(open_ones), None)}


def _around(request: Request, day: str) -> dict[str, str | None]:
    """Return the scored days before and after a day."""
    there = review_of(request).store.days("anomaly_events")
    i = there.index(day)
    return {"before": there[i - 1] if i else None, "after": there[i + 1] if i + 1 < len(there) else None}


def alarm_path(day: str, event: str) -> str:
    """Return the address of an alarm's page, without the server."""
    return f"/day/{day}/alarm/{quote(event, safe='')}"


ROUTES = [
    Route("/", home),
    Route("/enter", enter),
    Route("/days", days),
    Route("/day/{day}", day),
    Route("/day/{day}/alarm/{event}", alarm),
    Route("/day/{day}/map", day_map),
    Route("/planned", planned),
]
