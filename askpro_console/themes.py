"""The console's themes: quiet by default, by day, with the terminal's own 16 colours, and safe for the colour-blind.

Besides Textual's colours each defines the tones and grounds of `widgets.palette`. In all of them health is plain and
only what needs a person has a colour; every state has a glyph besides.
"""

from __future__ import annotations

from collections.abc import Mapping

from textual.theme import Theme


def _theme(name: str, tones: dict[str, str], *, dark: bool = True) -> Theme:
    """A theme from its tones; Textual's own colours are derived from them."""
    return Theme(
        name=name,
        primary=tones["tone-accent"],
        secondary=tones["tone-unknown"],
        accent=tones["tone-accent"],
        warning=tones["tone-warn"],
        error=tones["tone-crit"],
        success=tones["tone-ok"],
        foreground=tones["tone-text"],
        background=tones["ground-base"],
        surface=tones["ground-rest"],
        panel=tones["ground-panel"],
        dark=dark,
        variables={
            **tones,
            "scrollbar": tones["ground-mark"],
            "scrollbar-hover": tones["tone-faint"],
            "scrollbar-active": tones["tone-dim"],
            "scrollbar-background": tones["ground-base"],
            "scrollbar-background-hover": tones["ground-base"],
            "scrollbar-background-active": tones["ground-base"],
            "scrollbar-corner-color": tones["ground-base"],
        },
    )


NIGHT = {
    "tone-text": "#b9c0ca",
    "tone-dim": "#737d8c",
    "tone-faint": "#3d4552",
    "tone-bright": "#e8ecf2",
    "tone-accent": "#7fb4e6",
    "tone-ok": "#8fbf8f",
    "tone-warn": "#e6b450",
    "tone-crit": "#f2777a",
    "tone-unknown": "#b399d4",
    "ground-base": "#11151b",
    "ground-panel": "#1a202a",
    "ground-cursor": "#2b4a6b",
    "ground-rest": "#1e2530",
    "ground-mark": "#2a2f3a",
    "cursor-text": "#ffffff",
}
DAY = {
    "tone-text": "#2e3440",
    "tone-dim": "#6b7280",
    "tone-faint": "#c3c8d0",
    "tone-bright": "#0b0e14",
    "tone-accent": "#1f5fa8",
    "tone-ok": "#2f7d3b",
    "tone-warn": "#9a5b00",
    "tone-crit": "#c0262d",
    "tone-unknown": "#6b4aa0",
    "ground-base": "#f7f8fa",
    "ground-panel": "#eceff3",
    "ground-cursor": "#bcd7f5",
    "ground-rest": "#e3e8ee",
    "ground-mark": "#dbe2ea",
    "cursor-text": "#0b0e14",
}
CLEAR = {
    **NIGHT,
    "tone-accent": "#8ab8ff",
    "tone-ok": "#56b4e9",
    "tone-warn": "#f0e442",
    "tone-crit": "#ff8c1a",
    "tone-unknown": "#cc9fd6",
}
"""After Okabe and Ito: blue, yellow and orange stay apart for every common kind of colour blindness."""

ANSI = {
    "tone-text": "ansi_default",
    "tone-dim": "ansi_default",
    "tone-faint": "ansi_default",
    "tone-bright": "ansi_default",
    "tone-accent": "ansi_cyan",
    "tone-ok": "ansi_green",
    "tone-warn": "ansi_yellow",
    "tone-crit": "ansi_red",
    "tone-unknown": "ansi_magenta",
    "ground-base": "ansi_default",
    "ground-panel": "ansi_default",
    "ground-cursor": "ansi_default",
    "ground-rest": "ansi_default",
    "ground-mark": "ansi_default",
}

THEMES: tuple[Theme, ...] = (
    _theme("night", NIGHT),
    _theme("day", DAY, dark=False),
    _theme("clear", CLEAR),
    Theme(
        name="ansi",
        ansi=True,
        primary="ansi_blue",
        secondary="ansi_magenta",
        warning="ansi_yellow",
        error="ansi_red",
        success="ansi_green",
        accent="ansi_cyan",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        variables={
            **ANSI,
            "ansi-background": "ansi_black",
            "ansi-foreground": "ansi_white",
            "border-blurred": "ansi_black",
            "block-cursor-foreground": "ansi_black",
            "block-cursor-background": "ansi_white",
            "input-cursor-background": "ansi_white",
            "input-cursor-foreground": "ansi_black",
            "input-selection-background": "ansi_bright_blue",
            "input-selection-foreground": "ansi_black",
            "scrollbar": "ansi_bright_black",
            "scrollbar-hover": "ansi_bright_black",
            "scrollbar-active": "ansi_white",
            "scrollbar-background": "ansi_default",
            "scrollbar-background-hover": "ansi_default",
            "scrollbar-background-active": "ansi_default",
            "scrollbar-corner-color": "ansi_default",
        },
    ),
)

THEME_NAMES = tuple(theme.name for theme in THEMES)


def suitable_theme(wanted: str, environ: Mapping[str, str]) -> str:
    """The theme to start with: the one asked for, else the one that suits the terminal.

    `NO_COLOR` takes the terminal's own colours, of which then none is left; so do terminals with 16 colours.
    """
    if wanted in THEME_NAMES and not environ.get("NO_COLOR"):
        return wanted
    if environ.get("NO_COLOR"):
        return "ansi"
    colours = environ.get("COLORTERM", "") in {"truecolor", "24bit"}
    return "night" if colours or environ.get("TERM", "").endswith(("256color", "direct", "kitty")) else "ansi"
