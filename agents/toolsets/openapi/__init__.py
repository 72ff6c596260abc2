"""Operations of HTTP services as tools, from their descriptions: OpenAPI 2.0, 3.0, 3.1."""
