"""How the service is run: the local launcher and the files of other ways to deploy it."""
