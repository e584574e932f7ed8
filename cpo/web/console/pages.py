"""The pages of the console and what each of them shows."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cpo.domain.partner import PartnerStatus
from cpo.web.api import commands, jobs, partners, records, security, sites, stations
from cpo.web.routes import Call, Handler
from cpo.web.services import OperatorServices


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page: `handlers` are calls of the operator API whose answers its template gets by name."""

    path: str
    template: str
    handlers: Mapping[str, Handler]
    preset: Mapping[str, str] = field(default_factory=dict)
    scope: str = "read"


async def overview(call: Call) -> dict[str, Any]:
    """Return the health of chargers and of partners at a glance."""
    return summary(call.services)


def summary(services: OperatorServices) -> dict[str, Any]:
    """Return the numbers of the overview."""
    states = services.stations.all()
    statuses = Counter(str(state.status) for state in services.memory.sites.statuses.values())
    known = [p for p in services.partners.all() if p.status is not PartnerStatus.DISCONNECTED]
    return {
        "stations": {
            "all": len(states),
            "online": sum(state.online for state in states),
            "pending": sum(str(state.record.approval) == "pending" for state in states),
        },
        "charging": sum(len(state.open_transactions()) for state in states),
        "evses": dict(sorted(statuses.items())),
        "partners": [
            {
                "id": partner.id,
                "name": partner.name,
                "status": str(partner.status),
                "version": partner.version,
                "waiting": len(backlog := services.partners.backlog(partner.id)),
                "parked": sum(mark.parked for mark in backlog),
                "since": min((mark.since for mark in backlog), default=None),
                "last_error": partner.last_error,
            }
            for partner in known
        ],
    }


PAGES = (
    Page(
        path="/",
        template="overview.html",
        handlers={
            "overview": overview,
            "sessions": records.list_sessions,
            "commands": commands.list_,
        },
        preset={"limit": "8"},
    ),
    Page(path="/stations", template="stations.html", handlers={"page": stations.list_}),
    Page(
        path="/stations/{identity}",
        template="station.html",
        handlers={"station": stations.get, "messages": stations.messages},
        preset={"limit": "50"},
    ),
    Page(
        path="/stations/{identity}/documents",
        template="documents.html",
        handlers={"station": stations.get, "page": stations.documents},
    ),
    Page(path="/locations", template="locations.html", handlers={"page": sites.list_locations}),
    Page(
        path="/locations/{id}", template="location.html", handlers={"location": sites.get_location}
    ),
    Page(path="/tariffs", template="tariffs.html", handlers={"page": sites.list_tariffs}),
    Page(path="/tariffs/{id}", template="tariff.html", handlers={"tariff": sites.get_tariff}),
    Page(path="/tokens", template="tokens.html", handlers={"page": sites.list_tokens}),
    Page(path="/sessions", template="sessions.html", handlers={"page": records.list_sessions}),
    Page(path="/sessions/{id}", template="session.html", handlers={"session": records.get_session}),
    Page(path="/cdrs", template="cdrs.html", handlers={"page": records.list_cdrs}),
    Page(
        path="/cdrs/{id}",
        template="cdr.html",
        handlers={"cdr": records.get_cdr, "explained": records.explain},
    ),
    Page(path="/partners", template="partners.html", handlers={"overview": overview}),
    Page(
        path="/partners/{id}",
        template="partner.html",
        handlers={"partner": partners.get, "backlog": partners.backlog},
    ),
    Page(path="/commands", template="commands.html", handlers={"page": commands.list_}),
    Page(path="/commands/{id}", template="command.html", handlers={"command": commands.get}),
    Page(path="/jobs", template="jobs.html", handlers={"page": jobs.list_}),
    Page(path="/jobs/{id}", template="job.html", handlers={"job": jobs.get}),
    Page(
        path="/security",
        template="security.html",
        handlers={"certificates": security.certificates, "page": security.events},
    ),
    Page(path="/orphans", template="orphans.html", handlers={"page": records.list_orphans}),
    Page(
        path="/audit",
        template="audit.html",
        handlers={"page": records.list_audit},
        scope="admin",
    ),
)

# What a button of the console sends: (form's path below /do, method and path of the API).
ACTIONS = frozenset(
    {
        "/stations/{identity}/reset",
        "/stations/{identity}/trigger",
        "/stations/{identity}/clear-cache",
        "/stations/{identity}/get-log",
        "/stations/{identity}/get-display-messages",
        "/jobs/{id}/cancel",
        "/evses/{uid}/start",
        "/evses/{uid}/stop",
        "/evses/{uid}/unlock",
        "/evses/{uid}/availability",
        "/partners/{id}/resync",
        "/partners/{id}/resend",
        "/cdrs/{id}/release",
    }
)
