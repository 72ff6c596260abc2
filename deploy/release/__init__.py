"""A release: wheel and sdist of the same bytes whoever builds them, and what goes with them."""
