"""The webhooks of GitHub: https://docs.github.com/en/webhooks/webhook-events-and-payloads.

Gitea and Forgejo send the same, with the same header. Titles are plain text, not Markdown.
"""

from typing import Any

from gischat.hooks.plain_text import first_line, joined, linked
from gischat.shapes import objects, text

EVENT = "X-GitHub-Event"
DELIVERY = "X-GitHub-Delivery"
MAX_COMMITS = 5
NOTHING = "0" * 40  # in place of a commit, if there is none

# The name of an event's subject, if it is not the event's own name
SUBJECTS = {
    "issues": "issue",
    "issue_comment": "comment",
    "commit_comment": "comment",
    "pull_request_review": "review",
    "pull_request_review_comment": "comment",
}
ABOUT = ("issue", "pull_request", "discussion")  # what comments and reviews are about


def lines(event: str, content: dict[str, Any]) -> str:
    """The text for an event: what happened, who did it, and the URL."""
    where = text(content, "repository", "full_name") or text(content, "organization", "login")
    prefix = f"[{where}] " if where else ""
    if event == "ping":
        return f"{prefix}GitHub posts here from now on. {text(content, 'zen')}"
    return prefix + (_push(content) if event == "push" else _action(event, content))


def _push(content: dict[str, Any]) -> str:
    who = text(content, "pusher", "name") or text(content, "sender", "login")
    kind, _, name = text(content, "ref").removeprefix("refs/").partition("/")
    ref = f"{'tag' if kind == 'tags' else 'branch'} {name}"
    if text(content, "after") == NOTHING:
        return f"{who} deleted {ref}"
    commits = objects(content, "commits")
    did = f"pushed {len(commits)} commit{'' if len(commits) == 1 else 's'} to" if commits else "pushed"
    if content.get("forced") is True:
        did = f"force-{did}"
    told = [f"- {first_line(text(one, 'message'))}" for one in commits[:MAX_COMMITS]]
    if len(commits) > MAX_COMMITS:
        told.append(f"… and {len(commits) - MAX_COMMITS} more")
    return joined([linked(f"{who} {did} {ref}", text(content, "compare")), *told])


def _action(event: str, content: dict[str, Any]) -> str:
    name = SUBJECTS.get(event, event)
    subject = content.get(name)
    action = text(content, "action") or "happened"
    if event == "pull_request" and action == "closed" and text(content, name, "merged_at"):
        action = "merged"
    about = next((content[one] for one in ABOUT if one != name and one in content), subject)
    number = text(about, "number")
    title = text(about, "title") or text(about, "name") or text(about, "tag_name")
    title = " ".join(filter(None, (f"#{number}" if number else "", first_line(title))))
    noun = event.rstrip("s") if event == "issues" else event.replace("_", " ")
    result = (
        text(subject, "conclusion") or text(subject, "state") if event.endswith(("_run", "_suite", "review")) else ""
    )
    who = text(content, "sender", "login") or "somebody"
    head = f"{who} {action} {noun}{f' ({result})' if result else ''}"
    body = first_line(text(subject, "body")) if subject is not about else ""
    return joined([linked(": ".join(filter(None, (head, title))), text(subject, "html_url")), body])
