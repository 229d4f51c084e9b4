"""Walking through a game of ViZDoom by script: what a camera sees that is steered by what it sees.

The only importer of vizdoom, an optional extra. All chance comes from one generator a video and the game's own seed;
frames are resized in whole numbers, so that equal seeds give equal pixels.
Not here: which videos there are (freedoom.py).
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from lvdm.errors import SourceError

Motion = Literal["walk", "pan left", "pan right", "strafe left", "strafe right"]
RENDERED = (192, 256)  # pixels, height and width; the middle square becomes SIZE x SIZE
SIZE = 128
TICS = 2  # of the game, a frame: 17.5 frames a second
START = 10  # tics, in the first of which the player cannot move
WAY = (20, 80)  # steps to where a video is tried
PACE = 4  # tics between two looks on the way to where a video begins
PAN, TURN, NUDGE = 1.5, 3.0, 6.0  # degrees a tic: of a pan, away from a wall, and most of a small random turn
NEAR = 8  # depth, in the game's units of 1 to 255, below which a wall is in the way
ATTEMPTS = 20  # places that a video is tried at until one is worth showing
LIVELY, STILL = 2.0, 0.5  # mean |difference| of neighbouring frames: least of a video, and below which they stand still
MOST_STILL = 0.1  # of the pairs of frames
PR_SET_PDEATHSIG = 1  # of Linux's prctl
FREE = 7  # depth: least median over the picture, below which a wall fills it


@dataclass(frozen=True)
class Place:
    """A map of a game, or a scenario that brings its own."""

    wad: str
    map: str
    scenario: str | None


class GameOver(Exception):
    """The game ended by itself, as where a scenario has a goal."""


class Camera:
    """A game that runs, seen by one who walks in it; a context, at whose end the game ends."""

    picture: UInt8[np.ndarray, "192 256 3"]
    depth: UInt8[np.ndarray, "192 256"]

    def __init__(self, place: Place):
        import vizdoom as names

        folder, self.place, self.game = Path(names.__file__).parent, place, names.DoomGame()
        self.files = tempfile.TemporaryDirectory(prefix="lvdm-vizdoom-")  # its settings, else in the current folder
        self.game.set_doom_config_path(str(Path(self.files.name) / "vizdoom.ini"))
        if sys.platform == "linux":
            self.game.set_vizdoom_path(str(_engine_that_dies_with_us(folder / "vizdoom", Path(self.files.name))))
        self.game.set_doom_game_path(str(folder / f"{place.wad}.wad"))
        if place.scenario:
            self.game.set_doom_scenario_path(str(folder / "scenarios" / f"{place.scenario}.wad"))
        self.game.set_doom_map(place.map)
        self.game.set_screen_resolution(names.ScreenResolution.RES_256X192)
        self.game.set_screen_format(names.ScreenFormat.RGB24)
        self.game.set_depth_buffer_enabled(True)
        self.game.set_render_hud(False)
        self.game.set_render_weapon(False)
        self.game.set_render_crosshair(False)
        self.game.set_window_visible(False)
        self.game.set_mode(names.Mode.PLAYER)
        button = names.Button
        self.game.set_available_buttons(
            [button.MOVE_FORWARD, button.MOVE_LEFT, button.MOVE_RIGHT, button.TURN_LEFT_RIGHT_DELTA]
        )
        self.game.add_game_args("-nosound -nomonsters +sv_cheats 1")  # sound can end the game; monsters bleed
        self.game.set_episode_timeout(0)
        self.game.set_episode_start_time(START)

    def __enter__(self) -> Camera:
        self.game.init()
        return self

    def __exit__(self, *_: object) -> None:
        self.game.close()
        self.files.cleanup()

    def begin(self, seed: int) -> None:
        self.game.set_seed(seed)
        self.game.new_episode()
        self.game.send_game_command("god")
        self.turning, self.turn = 0, 0.0
        self.look()

    def look(self) -> None:
        state = self.game.get_state()
        if state is None or self.game.is_episode_finished():
            raise GameOver
        self.picture, self.depth = np.asarray(state.screen_buffer), np.asarray(state.depth_buffer)

    def move(self, *, forward: bool = False, sideways: int = 0, turn: float = 0.0, tics: int = TICS) -> None:
        """`sideways` is -1 to the left, 1 to the right; `turn` is in degrees a tic, to the right."""
        self.game.make_action([forward, sideways < 0, sideways > 0, turn], tics)
        self.look()

    def walk(self, random: np.random.Generator, tics: int = TICS) -> None:
        """One step onwards, or of a turn away from what is near; without chance a walk falls into a loop."""
        turns, side, by = random.random(3)
        middle = self.depth[RENDERED[0] * 2 // 5 : RENDERED[0] * 3 // 5]
        left, ahead, right = np.split(middle, [RENDERED[1] * 2 // 5, RENDERED[1] * 3 // 5], axis=1)
        if self.turning == 0 and ahead.min() < NEAR:
            deeper = 1 if right.mean() > left.mean() else -1
            self.turning, self.turn = 6 + int(by * 18), TURN * (deeper if turns > 0.2 else (-1) ** int(side < 0.5))
        if self.turning:
            self.turning -= 1
            self.move(turn=self.turn)
        else:
            self.move(forward=True, turn=NUDGE * (2 * side - 1) if turns < 0.06 else 0.0, tics=tics)

    def film(self, motion: Motion, frames: int, seed: Sequence[int]) -> UInt8[np.ndarray, "t 128 128 3"]:
        """A video of one motion, from a place that a walk leads to, a function of the arguments alone.

        Places are tried until most of the video moves and no wall fills it; the last of them is taken as it is.

        Raises:
            SourceError: the game ended at every place.
        """
        random, video, over = np.random.default_rng(seed), None, True
        for _ in range(ATTEMPTS):
            try:
                if over:
                    self.begin(int(random.integers(2**31)))
                    self.move(turn=float(random.uniform(-180, 180)), tics=1)  # maps begin at one place
                over = False
                for _ in range(int(random.integers(*WAY))):
                    self.walk(random, PACE)
                video, depths = self._take(motion, frames, random)
            except GameOver:
                over = True
                continue
            if worth_showing(video, depths):
                break
        if video is None:
            raise SourceError(f"freedoom-walk: {self.place}: no game lasts for {frames} frames of {motion}")
        return video

    def _take(self, motion: Motion, frames: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Frames and the median depth in each."""
        video, depths = np.empty((frames, SIZE, SIZE, 3), np.uint8), np.empty(frames)
        for index in range(frames):
            match motion:
                case "walk":
                    self.walk(random)
                case "pan left" | "pan right":
                    self.move(turn=PAN if motion == "pan right" else -PAN)
                case "strafe left" | "strafe right":
                    self.move(sideways=1 if motion == "strafe right" else -1)
            video[index], depths[index] = resized(self.picture), np.median(self.depth)
        return video, depths


def worth_showing(video: UInt8[np.ndarray, "t h w 3"], depths: np.ndarray) -> bool:
    """Whether most of a video moves, and no wall fills it."""
    change = np.array([np.abs(b.astype(np.int16) - a).mean() for a, b in pairwise(video)])
    return bool(change.mean() >= LIVELY and (change < STILL).mean() <= MOST_STILL and np.median(depths) >= FREE)


def resized(picture: UInt8[np.ndarray, "192 256 3"]) -> UInt8[np.ndarray, "128 128 3"]:
    """The middle square, three pixels to two by their areas, rounded: in whole numbers, so alike on every machine."""
    margin = (RENDERED[1] - RENDERED[0]) // 2
    sums = _two_of_three(_two_of_three(picture[:, margin:-margin].astype(np.uint16)).swapaxes(0, 1)).swapaxes(0, 1)
    return ((sums + 4) // 9).astype(np.uint8)


def _two_of_three(pixels: np.ndarray) -> np.ndarray:
    """Along the first axis, three times what each half of three pixels holds."""
    first, middle, last = pixels[0::3], pixels[1::3], pixels[2::3]
    return np.stack([2 * first + middle, middle + 2 * last], axis=1).reshape(-1, *pixels.shape[1:])


def _engine_that_dies_with_us(engine: Path, folder: Path) -> Path:
    """A command in `folder` that is the game's engine, which else would outlive a process that is killed."""
    die = f"import ctypes, os, signal, sys; ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, signal.SIGKILL)"
    command = f"{die}; os.getppid() != {os.getpid()} or os.execv(sys.argv[1], sys.argv[1:])"
    wrapper = folder / "engine"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-ISc", command, str(engine)])} "$@"\n')
    wrapper.chmod(0o700)
    return wrapper
