"""The popup between real programs: servers before it, checkers and mail behind it, real clients."""
