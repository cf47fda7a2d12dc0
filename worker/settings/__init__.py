"""All configuration: what there is (`sections`), and how it is read and checked, once (`load`)."""

from worker.settings.budgets import BlockedText, DeadLettersSettings, SpendSettings
from worker.settings.guarantees import (
    Delivery,
    Drain,
    GuaranteesSettings,
    OnOutage,
    OnUnknownSubmit,
    OnUnreadableLedger,
    Ordering,
)
from worker.settings.load import Settings, load
from worker.settings.mask import masked
from worker.settings.report import InvalidSettings
from worker.settings.secrets import API_KEY, API_KEY_FILE, SecretSource
from worker.settings.sections import (
    ApiSettings,
    InputFormat,
    InputSettings,
    KafkaSettings,
    LimitsSettings,
    LogLevel,
    LogSettings,
    OnOutOfRange,
    PaceSettings,
    RegistrySettings,
    Sections,
    StartFrom,
    StatusSettings,
    TopicsSettings,
)

__all__ = [
    "API_KEY",
    "API_KEY_FILE",
    "ApiSettings",
    "BlockedText",
    "DeadLettersSettings",
    "Delivery",
    "Drain",
    "GuaranteesSettings",
    "InputFormat",
    "InputSettings",
    "InvalidSettings",
    "KafkaSettings",
    "LimitsSettings",
    "LogLevel",
    "LogSettings",
    "OnOutOfRange",
    "OnOutage",
    "OnUnknownSubmit",
    "OnUnreadableLedger",
    "Ordering",
    "PaceSettings",
    "RegistrySettings",
    "SecretSource",
    "Sections",
    "Settings",
    "SpendSettings",
    "StartFrom",
    "StatusSettings",
    "TopicsSettings",
    "load",
    "masked",
]
