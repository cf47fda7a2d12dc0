"""The texts that the demo embeds when it is given none: eight subjects, so that neighbours can be judged by eye."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

TEXTS: Sequence[str] = (
    # coffee
    "How do I make a good espresso at home?",
    "Making good espresso at home: a beginner's guide",
    "The grind size decides how fast water runs through espresso coffee",
    "Cold brew coffee steeps for twelve hours and tastes sweet",
    "Roasting coffee beans longer makes the coffee darker and more bitter",
    "A paper filter holds back the oils of the coffee beans",
    "Milk foam for a cappuccino should shine like wet paint",
    # planets
    "Saturn's rings are mostly made of water ice",
    "The rings of Saturn consist almost entirely of ice",
    "Jupiter is the largest planet of the solar system",
    "Mercury is the smallest planet of the solar system and the closest to the Sun",
    "A day on the planet Venus lasts longer than its year",
    "The red colour of the planet Mars comes from iron oxide in its dust",
    "Moons of Jupiter: Io, Europa, Ganymede and Callisto",
    # databases
    "An index makes a database query faster and every write a little slower",
    "Why is my database query slow although there is an index?",
    "A slow database query in spite of an index: what to look at",
    "Database transactions are atomic: all of the writes happen, or none",
    "Replication copies each write of the primary database to its replicas",
    "A vector index finds the nearest neighbours of an embedding",
    "Nearest neighbour search over embeddings with a vector index",
    # bread
    "Sourdough bread needs a starter of flour and water",
    "Feed the sourdough starter with fresh flour and water every day",
    "Bread dough rises faster in a warm kitchen",
    "Kneading the dough develops the gluten of the flour",
    "Steam in the oven gives bread a thin, crisp crust",
    "Rye flour makes a dense, dark bread",
    "Let the bread cool down before you slice it, or the crumb turns gummy",
    # gardens
    "Tomato plants want full sun and plenty of water",
    "Water tomato plants in the morning, at the roots and not on the leaves",
    "Slugs eat young lettuce plants at night",
    "How to keep slugs away from lettuce without poison",
    "Prune apple trees in late winter, before the buds open",
    "Compost turns kitchen waste into food for garden plants",
    "Lavender grows in poor, dry soil and feeds the bees",
    # weather
    "Thunder is the sound of air heated by lightning",
    "Lightning heats the air so fast that we hear thunder",
    "Count the seconds between lightning and thunder to know how far the storm is",
    "A hurricane draws its energy from warm sea water",
    "Fog is a cloud that touches the ground",
    "Snow crystals have six arms because of how water molecules bind",
    "Warm air rises, cools down and forms a cloud",
    # music
    "A piano has eighty-eight keys and more than two hundred strings",
    "Tuning a piano means setting the tension of every string",
    "The strings of a violin were once made of sheep gut",
    "Bach wrote the Goldberg Variations for a harpsichord with two keyboards",
    "A jazz drummer keeps time on the ride cymbal",
    "The cello is tuned an octave below the viola",
    "Vinyl records store music as a groove, one long spiral on each side",
    # trains
    "The night train from Vienna to Rome crosses the Alps",
    "Is there a night train from Vienna to Rome?",
    "A high-speed train from Paris to Lyon takes two hours",
    "Rack railways climb slopes that are too steep for an ordinary train",
    "Steam trains had to stop for water every hundred kilometres",
    "Train tickets are cheaper if you book early",
    "The railway gauge is the distance between the two rails",
)  # fmt: skip

SPECIAL: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "flaky-1": ("A model that is busy at first [[flaky]]", "fails once, then succeeds"),
        "flaky-2": ("Try again, and it works [[flaky]]", "fails once, then succeeds"),
        "blocked-1": ("Something that no safety filter lets through [[block]]", "a text that the emulator blocks"),
        "blocked-2": ("Another text for the safety filter [[block]]", "a text that the emulator blocks"),
        "failing": ("A text on which the model always breaks [[fail]]", "a text that fails at every attempt"),
        "empty": ("", "an empty text"),
        "too-long": ("All work and no play makes Jack a dull boy. " * 1600, "a text longer than 64 KiB"),
    }
)
"""Key of an event to its text and to what is special about it. The markers tell the emulator what to do."""

UNDECODABLE: tuple[str, bytes, str] = (
    "undecodable",
    b'{"text": "JSON, where Avro was agreed upon"}',
    "bytes that are not Avro",
)
"""Key, value and explanation of a record that a producer with another idea of the format has left."""

TOMBSTONES: Sequence[str] = ("deleted-1", "deleted-2")
"""Keys of records without a value: whatever vector the key had is to be deleted downstream."""
