"""The tools that come with the service, in categories."""
