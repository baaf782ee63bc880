"""`/openapi.json`, `/asyncapi.json`, and `/docs`, which displays the former with Swagger UI on a page of our own.

Two files of Swagger UI are served from the package swagger-ui-py, which contains the official release. The package's
templates need inline scripts, which our content security policy does not permit.
"""

import asyncio
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import msgspec
from tornado.routing import URLSpec

from gischat.front.handlers.base import FOR_SWAGGER_UI, WEB
from gischat.front.handlers.rest import Moved, Page, PublicHandler
from gischat.front.services import Services
from gischat.settings import Settings


def routes(front: Services) -> list[URLSpec]:
    """The paths of the documentation."""
    return [
        URLSpec(r"/openapi\.json", OpenApi, {"front": front}),
        URLSpec(r"/asyncapi\.json", AsyncApi, {"front": front}),
        URLSpec(r"/docs/", Moved, {"url": "../docs"}),  # the page's relative URLs are relative to /docs
        URLSpec(r"/docs()", Docs, {"path": str(WEB)}),
        URLSpec(r"/docs/(swagger-ui\.css|swagger-ui-bundle\.js)", Page, {"path": str(_swagger_ui())}),
    ]


def _swagger_ui() -> Path:
    """The package's static files; it is not imported, because it would load template engines into every front."""
    package = find_spec("swagger_ui")
    assert package is not None, "swagger-ui-py is not installed"
    assert package.origin is not None
    return Path(package.origin).parent / "static"


class OpenApi(PublicHandler):
    MODULE = "openapi"

    async def get(self) -> None:
        # Made on the first request, in a thread, so that it does not block others.
        self.answer_json(await asyncio.to_thread(_encoded, self.MODULE, self.settings_))


class AsyncApi(OpenApi):
    MODULE = "asyncapi"


@cache
def _encoded(module: str, settings: Settings) -> bytes:
    describing = import_module(f"gischat.front.descriptions.{module}")  # imports apispec, which most fronts never need
    return msgspec.json.encode(describing.document(settings))


class Docs(Page):
    CONTENT_SECURITY_POLICY = FOR_SWAGGER_UI

    def parse_url_path(self, url_path: str) -> str:
        return "docs.html"
