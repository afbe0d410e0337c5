"""The gallery's clips and pairs. Two scenes with the same motion are a synthetic pair: the target shows what its
transfer should look like.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from painting.motions import (
    CALM,
    CHASE,
    CROSS,
    DRIFT,
    FALL,
    HOP,
    PAN_LEFT,
    PAN_RIGHT,
    ROAM,
    ROLL,
    SPIN,
    STAND,
    STOP,
    SWING,
    TILT_UP,
    WANDER,
    ZOOM_IN,
    ZOOM_OUT,
    to_and_fro,
)
from painting.robots import Shot
from painting.scene import Scene
from painting.sceneries import (
    city,
    dunes,
    fields,
    forest,
    hills,
    mountains,
    reef,
    scallops,
    sea,
    space,
    terrazzo,
    tiles,
)
from painting.things import ball, balloon, boat, fish, kite, lantern, leaf, pinwheel, planet, snowflake

DAWN = partial(hills, ("#6f86b8", "#f0b9a8", "#ffe3bd"), "#fff3d0", "#c9a3a8", "#2d3a5c", "#f6d6bd")
GREEN = partial(hills, ("#3f8fa8", "#a8d8cf", "#f2f0cf"), "#fffbe0", "#9cc9b4", "#17463f", "#dcebc8", seed=21)
PLUM = partial(hills, ("#3b2a5e", "#a4527f", "#ff9d76"), "#ffe0a8", "#b5648a", "#241a45", "#f2947f", seed=31)
SPRING = partial(hills, ("#4a78c8", "#9fc9ec", "#f6f3dd"), "#fffdf0", "#9dbfd8", "#2c5a4a", "#dfeccf", seed=41)
VALLEY = partial(hills, ("#2a6f97", "#89c2d9", "#fdf0d5"), "#fffbe8", "#a9d6e5", "#014f6b", "#e4f0ea", seed=51)
MOON = partial(sea, ("#0a1236", "#1c3468", "#5a78b0"), "#fdf3cf", ("#4667a3", "#142a5c", "#0a1438"), "#0e1a3f")
SUNSET = partial(
    sea,
    ("#40366f", "#c5607c", "#ffb677"),
    "#fff0b8",
    ("#e08a78", "#6b4f86", "#2f2b5e"),
    "#3d2c5c",
    night=False,
    seed=22,
)
LILAC = partial(
    sea, ("#160f33", "#3d2a6b", "#8a6bb0"), "#ffe9d2", ("#6f58a0", "#3a2a6b", "#1a1238"), "#1d1440", seed=23
)
SAND = partial(dunes, ("#3f7fb0", "#9ccbd3", "#fbe3bd"), "#fff6d8", "#f2b56b", "#a4552f")
DUSK = partial(city, ("#2b2f6b", "#8a4f8f", "#f48a72", "#ffc987"), "#ffe6a6", "#80508a", "#171a42", "#ffd682")
TEAL = partial(city, ("#0c2c45", "#1f6b7d", "#8cc9b5", "#f7e7b0"), "#fff6d0", "#2f7c8c", "#06182e", "#ffe08a", seed=24)
OCHRE = partial(city, ("#5b3a29", "#c9764a", "#f2b880", "#ffe8c7"), "#fff3d6", "#b5764f", "#2b1a17", "#ffd98a", seed=52)
AUTUMN = partial(
    forest, ("#f6c987", "#fff0c9", "#e9b478"), "#c99a77", "#3a2430", ("#d9622b", "#f0a030", "#b8392e", "#a8562f")
)
JADE = partial(
    forest,
    ("#bfe3c8", "#f4fbe4", "#a9cfa6"),
    "#86a892",
    "#1d3a36",
    ("#4f9a5f", "#7fbf6a", "#2f7a5c", "#5c8a55"),
    seed=25,
)
REEF = partial(
    reef,
    ("#9fe3e0", "#2aa3c0", "#135a94", "#0f2f66"),
    ("#ff6f7d", "#ffb14e", "#c77dff", "#ffd84d", "#ff8fb5"),
    "#f0d9a8",
)
DEEP = partial(
    reef,
    ("#4fd0b8", "#1c7f93", "#15456f", "#161f4f"),
    ("#ffd166", "#ef476f", "#7ee0c0", "#f78c6b", "#b388eb"),
    "#c9b98f",
    seed=26,
)
NEBULA = partial(space, "#0b0a2a", ("#5b2a86", "#b8437f", "#2a6fa8"), "#fff4da", ("#e8a26b", "#f7dcae", "#b3624f"))
COMET = partial(space, "#04182b", ("#0f5c6e", "#2a9d8f", "#3a4fa0"), "#eafff6", seed=27)
NORTH = partial(mountains, ("#0b1238", "#17355f", "#4f86a0"), ("#4fe0a4", "#7c6cf0"), "#f2f7ff", "#3a4a74", "#0c1d33")
ROSE = partial(
    mountains, ("#3a4f9a", "#b58ac0", "#ffc9b0"), ("#ffe0c0", "#ff9eb0"), "#fff4f0", "#5a4a7f", "#2a2350", seed=28
)
AZULEJO = partial(tiles, "#f7f1e1", ("#1f5fa8", "#0f3a70", "#e0a63a", "#c9503a"))
CONFETTI = partial(terrazzo, "#f3e6d8", ("#e07a5f", "#3d5a80", "#81b29a", "#f2cc8f", "#6d597a"))
FARM = partial(fields, ("#9dbb58", "#e3c65b", "#5f9a55", "#d99a4e", "#c8d48a"), "#2f5a3c", "#4fa3c7")
MEADOW = partial(fields, ("#c9d65b", "#7fb069", "#e8d48a", "#4f8f6b", "#b8d8a0"), "#2d4f3a", "#5fb0d0", seed=53)
WAVES = partial(scallops, "#f6ecd9", ("#0f4c75", "#2b8ca8", "#7fcab8"))

BALL = (partial(ball, "#fff6e6", "#e63946", "#fff6e6", "#ffb703", "#fff6e6", "#1d70a2"), 0.19)
LANTERN = (partial(lantern, "#e4342b", "#8f1522", "#3a1420", "#ffdf85"), 0.21)
PINWHEEL = (partial(pinwheel, "#ef476f", "#ffd166", "#1fa3b8"), 0.22)
LEAF = (partial(leaf, "#ff9a3c", "#d8432b", "#ffe9b8"), 0.2)
FLAKE = (partial(snowflake, "#ffffff", "#2b62c9"), 0.19)
BALLOON = (partial(balloon, "#12a5a0", "#fff1d6", "#f2c14e"), 0.21)
CLOWNFISH = (partial(fish, "#ff8a1f", "#fffaf0", "#ffb347"), 0.2)
TANG = (partial(fish, "#ffe14d", "#20307a", "#ffb703"), 0.18)
KOI = (partial(fish, "#fff4ea", "#e8452c", "#ffb8a0", facing=-1), 0.18)
KITE = (partial(kite, "#ef476f", "#ffd166", "#118ab2", "#06d6a0"), 0.21)
SATURN = (partial(planet, "#ffd9a0", "#e08a4f", "#fff0d0", ring="#f5c98a"), 0.21)
NEPTUNE = (partial(planet, "#7fe0ea", "#2f7fd0", "#c8f7f0", ring="#b9a8ff"), 0.2)
BOAT = (partial(boat, "#b3262e", "#fff4dc", "#f28f3b"), 0.21)

SCENES = (
    Scene(
        file="sea-pan", title="Night sea", about="The camera pans right past the moon.", motion=PAN_RIGHT, painting=MOON
    ),
    Scene(
        file="dunes-pan", title="Desert", about="The camera pans right over the dunes.", motion=PAN_RIGHT, painting=SAND
    ),
    Scene(
        file="hills-calm",
        title="Calm hills",
        about="Nothing moves: mist, hills and a low sun.",
        motion=CALM,
        painting=DAWN,
    ),
    Scene(file="hills-left", title="Green hills", about="The camera pans left.", motion=PAN_LEFT, painting=GREEN),
    Scene(
        file="city-zoom",
        title="City at dusk",
        about="The camera moves in on the towers.",
        motion=ZOOM_IN,
        painting=DUSK,
    ),
    Scene(
        file="forest-zoom",
        title="Autumn forest",
        about="The camera moves in between the trunks.",
        motion=ZOOM_IN,
        painting=AUTUMN,
    ),
    Scene(
        file="space-zoom",
        title="Deep space",
        about="The camera moves out among the stars.",
        motion=ZOOM_OUT,
        painting=NEBULA,
    ),
    Scene(file="tiles-roll", title="Tiled floor", about="The camera rolls.", motion=ROLL, painting=AZULEJO),
    Scene(
        file="fields-roll",
        title="Fields from above",
        about="The camera rolls like a plane in a turn.",
        motion=ROLL,
        painting=FARM,
    ),
    Scene(
        file="mountains-up",
        title="Northern lights",
        about="The camera tilts up from peaks to sky.",
        motion=TILT_UP,
        painting=NORTH,
    ),
    Scene(
        file="city-swing",
        title="Harbour city",
        about="The camera swings right, left and right again.",
        motion=SWING,
        painting=TEAL,
    ),
    Scene(
        file="balloon-drifts",
        title="Balloon",
        about="A balloon drifts to the right.",
        motion=DRIFT,
        painting=PLUM,
        things=(BALLOON,),
    ),
    Scene(
        file="fish-drifts",
        title="Clownfish",
        about="A fish swims to the right.",
        motion=DRIFT,
        painting=REEF,
        things=(CLOWNFISH,),
    ),
    Scene(
        file="leaf-falls",
        title="Falling leaf",
        about="A leaf falls and turns.",
        motion=FALL,
        painting=JADE,
        things=(LEAF,),
    ),
    Scene(
        file="snow-falls",
        title="Falling snowflake",
        about="A snowflake falls and turns.",
        motion=FALL,
        painting=ROSE,
        things=(FLAKE,),
    ),
    Scene(
        file="ball-hops",
        title="Hopping ball",
        about="A ball hops up and down.",
        motion=HOP,
        painting=WAVES,
        things=(BALL,),
    ),
    Scene(
        file="lantern-stands",
        title="Lantern",
        about="A lantern that does not move.",
        motion=STAND,
        painting=LILAC,
        things=(LANTERN,),
    ),
    Scene(
        file="pinwheel-turns",
        title="Pinwheel",
        about="A pinwheel turns in place.",
        motion=SPIN,
        painting=CONFETTI,
        things=(PINWHEEL,),
    ),
    Scene(
        file="planets-cross",
        title="Two planets",
        about="Two planets pass each other.",
        motion=CROSS,
        painting=COMET,
        things=(SATURN, NEPTUNE),
    ),
    Scene(
        file="fish-cross",
        title="Two fish",
        about="Two fish pass each other.",
        motion=CROSS,
        painting=DEEP,
        things=(TANG, KOI),
    ),
    Scene(
        file="boat-stops",
        title="Boat at sunset",
        about="A boat sails right, then stops.",
        motion=STOP,
        painting=SUNSET,
        things=(BOAT,),
    ),
    Scene(
        file="kite-rises",
        title="Kite",
        about="A kite rises while the camera pans right.",
        motion=CHASE,
        painting=SPRING,
        things=(KITE,),
    ),
    Scene(
        file="valley-wander",
        title="Wandering over hills",
        about="The camera pans, zooms and rolls, each at its own pace.",
        motion=WANDER,
        painting=VALLEY,
    ),
    Scene(
        file="harbour-wander",
        title="Wandering over a city",
        about="The camera pans, zooms and rolls, each at its own pace.",
        motion=WANDER,
        painting=OCHRE,
    ),
    Scene(
        file="meadow-wander",
        title="Wandering over fields",
        about="The camera pans, zooms and rolls, each at its own pace.",
        motion=WANDER,
        painting=MEADOW,
    ),
    Scene(
        file="ball-roams",
        title="Roaming ball",
        about="A ball goes round, up and down, and turns.",
        motion=ROAM,
        painting=SAND,
        things=(BALL,),
    ),
    Scene(
        file="balloon-roams",
        title="Roaming balloon",
        about="A balloon goes round, up and down, and turns.",
        motion=ROAM,
        painting=VALLEY,
        things=(BALLOON,),
    ),
    Shot(
        file="arm-sweeps",
        title="Sweeping arm",
        about="A robot arm swings its gripper to and fro.",
        robot="arm",
        seed=9021,
        rates=(0, 0.3, 0, 0),
        beat=to_and_fro,
    ),
    Shot(
        file="arm-lifts",
        title="Lifting arm",
        about="A robot arm lifts its gripper and lowers it.",
        robot="arm",
        seed=9029,
        rates=(0, 0, 0.25, 0),
        beat=to_and_fro,
    ),
    Shot(
        file="rover-drives",
        title="Driving rover",
        about="A rover drives straight on.",
        robot="rover",
        seed=9021,
        rates=(1.1, 0, 0),
    ),
    Shot(
        file="rover-turns",
        title="Turning rover",
        about="A rover drives on and turns right.",
        robot="rover",
        seed=9035,
        rates=(0.5, 0, -0.35),
    ),
    Shot(
        file="rover-stands",
        title="Walled yard",
        about="A rover stands in front of a tree.",
        robot="rover",
        seed=9014,
        rates=(0, 0, 0),
    ),
)


@dataclass(frozen=True)
class Pair:
    """Names of a source and a target."""

    title: str
    source: str
    target: str
    about: str


PAIRS = (
    Pair("Look up", "mountains-up", "hills-calm", "The hills never moved: they should sink, and the sky open."),
    Pair("Roll", "tiles-roll", "fields-roll", "The river should turn as fast as the tiles."),
    Pair("Wake the hills", "sea-pan", "hills-calm", "The hills never moved: the pan comes from the sea."),
    Pair("Wander", "valley-wander", "meadow-wander", "The fields should sway and turn as the hills do."),
    Pair(
        "Pan",
        "sea-pan",
        "dunes-pan",
        "The desert should glide left as the sea does, and the low sun leave the picture.",
    ),
    Pair("There and back", "city-swing", "hills-left", "The hills should swing instead of gliding on."),
    Pair("Move in", "city-zoom", "forest-zoom", "The trunks should grow and part as the towers do."),
    Pair("Drive on", "rover-drives", "rover-stands", "The yard never moved: it should open as the rover drives on."),
    Pair("Turn away", "rover-turns", "hills-calm", "The hills should glide left as the rover turns right."),
    Pair("Hold still", "hills-calm", "balloon-drifts", "Nothing happens in the hills, so the balloon should stay."),
    Pair("Drift", "balloon-drifts", "fish-drifts", "The fish should swim right while the reef stays still."),
    Pair("Make it roam", "ball-roams", "lantern-stands", "The lantern should go where the ball goes."),
    Pair("Fall", "snow-falls", "leaf-falls", "The leaf should sink as the snowflake does."),
)
