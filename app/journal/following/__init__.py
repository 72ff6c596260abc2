"""Who follows streams: clients with cursors, subscriptions that are served; and what is kept."""
