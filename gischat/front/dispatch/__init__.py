"""Dispatch: clients' messages on their way to the workers, one job per connection in flight; replay after a loss."""
