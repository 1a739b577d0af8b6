"""How the admin looks and how one finds one's way in it: the settings of django-unfold."""

from __future__ import annotations

from functools import partial

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _pages(title: str, *pages: tuple[str, str, str]) -> dict[str, object]:
    """A group of the admin's navigation: each page's title, icon and model."""
    return {
        "title": title,
        "separator": True,
        "items": [
            {
                "title": name,
                "icon": icon,
                "link": reverse_lazy(f"admin:{model}_changelist"),
                "permission": partial(_may_view, model=model),
            }
            for name, icon, model in pages
        ],
    }


def _may_view(request: HttpRequest, *, model: str) -> bool:
    app, _, name = model.rpartition("_")
    return bool(request.user.has_perm(f"{app}.view_{name}"))


# The dashboard's blue, in the steps of Tailwind CSS's palette, from which Unfold takes its colours too.
BLUE = {
    "50": "oklch(97% 0.014 254.604)",
    "100": "oklch(93.2% 0.032 255.585)",
    "200": "oklch(88.2% 0.059 254.128)",
    "300": "oklch(80.9% 0.105 251.813)",
    "400": "oklch(70.7% 0.165 254.624)",
    "500": "oklch(62.3% 0.214 259.815)",
    "600": "oklch(54.6% 0.245 262.881)",
    "700": "oklch(48.8% 0.243 264.376)",
    "800": "oklch(42.4% 0.199 265.638)",
    "900": "oklch(37.9% 0.146 265.522)",
    "950": "oklch(28.2% 0.091 267.935)",
}
UNFOLD = {
    "SITE_TITLE": "OpenCode Agents",
    "SITE_HEADER": "OpenCode Agents",
    "SITE_SYMBOL": "smart_toy",
    "SITE_URL": "/",
    "DASHBOARD_CALLBACK": "tasks.admin.front.front_page",
    "STYLES": [lambda request: static("admin_pages/admin.css")],
    "COLORS": {"primary": BLUE},
    "SHOW_BACK_BUTTON": True,
    "LOGIN": {"form": "opencode_site.access.forms.AdminLoginForm"},
    "SIDEBAR": {
        "show_search": False,
        "navigation": [
            {
                "items": [
                    {"title": "Overview", "icon": "dashboard", "link": reverse_lazy("admin:index")},
                    {
                        "title": "Live dashboard",
                        "icon": "sensors",
                        "link": reverse_lazy("dashboard"),
                        "active": lambda request: False,
                    },
                ]
            },
            _pages(
                "Work",
                ("Tasks", "task_alt", "tasks_task"),
                ("Schedules", "event_repeat", "tasks_schedule"),
                ("Runs", "play_circle", "tasks_run"),
                ("Hosts", "dns", "tasks_host"),
            ),
            _pages(
                "What happened",
                ("Log entries", "article", "monitoring_logentry"),
                ("Changes of status", "swap_horiz", "tasks_transition"),
                ("Samples", "monitoring", "monitoring_resourcesample"),
            ),
            _pages(
                "Processes",
                ("Agents seen", "smart_toy", "processes_seenagent"),
                ("Kills", "dangerous", "processes_kill"),
            ),
            _pages(
                "Set up",
                ("Upkeep", "cleaning_services", "monitoring_upkeep"),
                ("API keys", "key", "access_apikey"),
                ("Users", "person", "auth_user"),
                ("Groups", "group", "auth_group"),
                ("Crontabs", "calendar_month", "django_celery_beat_crontabschedule"),
                ("Intervals", "timer", "django_celery_beat_intervalschedule"),
            ),
        ],
    },
}
