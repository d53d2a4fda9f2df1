"""Vector search engines: one class per engine, with its modes, the packages that it needs, and how it builds and searches an index."""
