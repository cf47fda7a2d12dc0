"""Everything third-party, behind the ports."""
