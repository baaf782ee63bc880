"""What other programs say by a POST, as texts for a channel; and where a channel's messages are posted to."""
