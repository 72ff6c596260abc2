"""The whole service on one machine, with nothing installed beside the project's packages."""
