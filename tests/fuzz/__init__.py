"""The whole worker against everything that comes from outside, in virtual time: no crash, no hang, one outcome for each."""
