"""The store that all processes of a user on one machine share: found by its directory, started when needed."""
