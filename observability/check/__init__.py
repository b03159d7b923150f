"""`--check-config`: what would keep a sidecar with these options from its work, before it is started."""
