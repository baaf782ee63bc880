"""The workers: take jobs from the inboxes, do them, publish to all fronts."""
