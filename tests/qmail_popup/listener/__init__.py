"""Tests of the resident form: worker, spawner, and what is between them."""
