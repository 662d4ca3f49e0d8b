"""The image that guards run in: base_image of params.yaml, written here by `make lock`."""

GUARD_IMAGE = "python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b"
