"""The one door to the API: every call waits here for the pace, and stops here while intake is halted."""
