"""What axe-core, which knows the rules of WCAG and how browsers are read aloud, finds on the page: nothing."""

from importlib import resources

from tests.web.page import Page

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
# The contrast of each element costs most. Of a long list a few are enough, and what stands as it stood in an earlier
# state, or behind a dialog, has been looked at.
RUN = """
const done = arguments[arguments.length - 1];
for (const [part, stood] of globalThis.lookedAt ?? []) if (part.outerHTML !== stood) delete part.dataset.audited;
const dialog = document.querySelector("dialog[open]");
const context = {include: [dialog ?? document], exclude: [["#channels > :nth-child(n+4)"], ["[data-audited]"]]};
axe.run(context, {resultTypes: ["violations"], preload: false, selectors: false})
    .then(done, (error) => done({violations: [{id: String(error), nodes: []}]}));
"""
# On the phone, which hides more than the screen
REMEMBER = """
globalThis.lookedAt ??= new Map();
for (const part of document.querySelectorAll(":is(#lobby, .bar, #log, #people, #composer) > *")) {
    if (!part.checkVisibility()) continue;
    part.dataset.audited = "";
    lookedAt.set(part, part.outerHTML);
}
"""
WIDE, PHONE = (1200, 800), (390, 844)
LOOKS = {"light": WIDE, "dark": PHONE}
ALL_LOOKS = [(scheme, size) for scheme in LOOKS for size in (WIDE, PHONE)]


class Audit:
    """Looks at pages as they are, in one colour scheme after the other, on a screen and on a phone."""

    def __init__(self, *, thorough: bool) -> None:
        self._looks = ALL_LOOKS if thorough else [*LOOKS.items()]
        self.faults: dict[str, list[str]] = {}

    def __call__(self, page: Page, state: str) -> None:
        before = page.size
        for scheme, size in self._looks:
            page.resize(*size)
            page.show_in(scheme)
            if not page.run("return 'axe' in window"):
                page.run(AXE)
            found = [
                f"{rule['id']}: {node['html']} {node['failureSummary']}"
                for rule in page.browser.execute_async_script(RUN)["violations"]
                for node in rule["nodes"] or [{"html": "", "failureSummary": ""}]
            ]
            if found:
                self.faults[f"{state}, {scheme}, {size[0]}"] = found
        page.run(REMEMBER)
        page.resize(*before)
        page.show_in("light")
