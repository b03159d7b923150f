"""What watches qmail-popup: the mirror inside each popup, and the sidecar that counts for all of them."""
