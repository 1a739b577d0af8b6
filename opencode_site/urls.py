"""The HTTP pages."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import path

from opencode_site.access.views import Login
from opencode_site.dashboard import dashboard
from opencode_site.metrics import metrics
from opencode_site.reference import asyncapi, reference

urlpatterns = [
    path("", dashboard, name="dashboard"),
    path("login/", Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("docs/", reference, name="reference"),
    path("metrics", metrics, name="metrics"),
    path("asyncapi.json", asyncapi, name="asyncapi"),
    path("admin/", admin.site.urls),
]
