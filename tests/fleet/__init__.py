"""Hosts, their sidecars and the monitoring behind them, all real, as one fleet."""
