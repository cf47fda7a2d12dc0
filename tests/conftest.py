"""What every test may use."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.kafka.fixtures", "tests.figures"]

# how long an example takes says something of the machine, nothing of the code
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
