"""Tests of qmail_popup/."""
