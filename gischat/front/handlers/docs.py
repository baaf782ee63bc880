"""`/openapi.json`, `/asyncapi.json`, and `/docs`, which shows the first with Swagger UI: on a page of our own, with
nothing from elsewhere.

Two files of Swagger UI are served from the package swagger-ui-py, which carries the official release. Its templates
are not used: they need inline scripts, and our content security policy allows none.
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
        URLSpec(r"/docs/", Moved, {"url": "../docs"}),  # where the page's relative addresses hold
        URLSpec(r"/docs()", Docs, {"path": str(WEB)}),
        URLSpec(r"/docs/(swagger-ui\.css|swagger-ui-bundle\.js)", Page, {"path": str(_swagger_ui())}),
    ]


def _swagger_ui() -> Path:
    """Found, not imported: the package would bring template engines into every front."""
    package = find_spec("swagger_ui")
    assert package is not None, "swagger-ui-py is not installed"
    assert package.origin is not None
    return Path(package.origin).parent / "static"


class OpenApi(PublicHandler):
    MODULE = "openapi"

    async def get(self) -> None:
        # Made when it is first asked for, in a thread: nobody else waits for it.
        self.answer_json(await asyncio.to_thread(_encoded, self.MODULE, self.settings_))


class AsyncApi(OpenApi):
    MODULE = "asyncapi"


@cache
def _encoded(module: str, settings: Settings) -> bytes:
    describing = import_module(f"gischat.front.descriptions.{module}")  # with apispec, which most fronts never need
    return msgspec.json.encode(describing.document(settings))


class Docs(Page):
    CONTENT_SECURITY_POLICY = FOR_SWAGGER_UI

    def parse_url_path(self, url_path: str) -> str:
        return "docs.html"
